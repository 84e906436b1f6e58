//! The table of watched descriptors: what the loop knows about each, kept in step with the driver.
//!
//! Only the loop uses it, under a short borrow. It makes system calls (`epoll_ctl` does not sleep) but calls
//! nobody and drops no source.

use std::io;
use std::os::fd::RawFd;

use crate::driver::{Completion, Driver, Interest, Readiness, Token};
use crate::slab::Slab;

/// One watched descriptor.
struct Registration<S> {
    /// The descriptor's number.
    fd: RawFd,
    /// What the driver has been asked for.
    interest: Interest,
    /// The embedder's part.
    source: S,
}

/// All of them.
pub(super) struct Sources<S> {
    /// The registrations, under tokens.
    table: Slab<Registration<S>>,
    /// How many oblige a turn that does not wait to ask the kernel nevertheless.
    polled: usize,
}

impl<S> Sources<S> {
    /// How many descriptors are registered.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the kernel may have news that a busy loop must ask for.
    #[inline]
    pub(super) fn wants_polling(&self) -> bool {
        self.polled > 0
    }

    /// Adds a descriptor and tells the driver.
    pub(super) fn register<D: Driver>(
        &mut self,
        driver: &D,
        fd: RawFd,
        interest: Interest,
        source: S,
    ) -> Result<Token, (io::Error, S)> {
        let token = Token(self.table.insert(Registration { fd, interest: Interest::NONE, source }));
        match self.set_interest(driver, token, interest) {
            Ok(()) => Ok(token),
            Err(error) => {
                let registration = self.table.remove(token.0).expect("inserted just above");
                Err((error, registration.source))
            }
        }
    }

    /// Changes what the driver is asked for.
    pub(super) fn set_interest<D: Driver>(
        &mut self,
        driver: &D,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let registration = self.table.lookup_mut(token.0).ok_or(io::ErrorKind::NotFound)?;
        let before = registration.interest;
        if interest == before {
            return Ok(());
        }
        match (before.is_none(), interest.is_none()) {
            (true, true) => {}
            (true, false) => driver.watch(registration.fd, token, interest)?,
            // As in `deregister`, the answer is of no use.
            (false, true) => drop(driver.unwatch(registration.fd, token)),
            (false, false) => driver.rewatch(registration.fd, token, interest)?,
        }
        registration.interest = interest;
        self.polled = self.polled + usize::from(is_polled(interest)) - usize::from(is_polled(before));
        Ok(())
    }

    /// Has the driver look at a descriptor anew.
    pub(super) fn rewatch<D: Driver>(&self, driver: &D, token: Token) -> io::Result<()> {
        let registration = self.table.lookup(token.0).ok_or(io::ErrorKind::NotFound)?;
        match registration.interest {
            interest if interest.is_none() => Ok(()),
            interest => driver.rewatch(registration.fd, token, interest),
        }
    }

    /// What the driver has been asked for.
    pub(super) fn interest(&self, token: Token) -> Option<Interest> {
        self.table.lookup(token.0).map(|registration| registration.interest)
    }

    /// The number of the descriptor.
    pub(super) fn descriptor(&self, token: Token) -> Option<RawFd> {
        self.table.lookup(token.0).map(|registration| registration.fd)
    }

    /// The embedder's part of a registration.
    pub(super) fn source_mut(&mut self, token: Token) -> Option<&mut S> {
        self.table.lookup_mut(token.0).map(|registration| &mut registration.source)
    }

    /// The source that a completion is about and the directions it wanted; `None` if the token is stale or
    /// nothing wanted has happened.
    #[inline]
    pub(super) fn resolve(&self, completion: Completion) -> Option<(&S, Readiness)> {
        let registration = self.table.lookup(completion.token.0)?;
        let readiness = completion.readiness.wanted_by(registration.interest);
        (!readiness.is_none()).then_some((&registration.source, readiness))
    }

    /// Takes a descriptor out, and out of the driver. The driver's answer is of no use: the owner may have
    /// closed the descriptor (`EBADF`, or `ENOENT` if the number has been reused), and that has removed it
    /// from the kernel's set.
    pub(super) fn deregister<D: Driver>(&mut self, driver: Option<&D>, token: Token) -> Option<S> {
        let registration = self.table.remove(token.0)?;
        self.polled -= usize::from(is_polled(registration.interest));
        if let Some(driver) = driver.filter(|_| !registration.interest.is_none()) {
            let _ = driver.unwatch(registration.fd, token);
        }
        Some(registration.source)
    }

    /// The sources, in no promised order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &S> {
        self.table.iter().map(|registration| &registration.source)
    }

    /// Takes every source out without telling a driver, which is about to be closed.
    pub(super) fn take_all(&mut self) -> Vec<S> {
        self.polled = 0;
        self.table.take_all().into_iter().map(|registration| registration.source).collect()
    }
}

impl<S> Default for Sources<S> {
    fn default() -> Self {
        Self { table: Slab::new(), polled: 0 }
    }
}

/// Whether a turn that does not wait must ask the kernel about this registration.
fn is_polled(interest: Interest) -> bool {
    !interest.is_none() && !interest.is_background()
}
