//! Arguments of native methods: keywords of fast calls, and `__init__`'s tuple and dict.

use std::ffi::{CStr, c_char};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::make::{self, Exception};
use super::{Object, Raised, Result};

/// The arguments of a `METH_FASTCALL | METH_KEYWORDS` call, borrowed from the caller.
pub(crate) struct Args<'a> {
    pub(crate) positional: &'a [*mut ffi::PyObject],
    named: &'a [*mut ffi::PyObject],
    names: *mut ffi::PyObject,
}

impl Args<'_> {
    /// # Safety
    /// The four are the arguments of a fast call that is still running.
    #[inline]
    pub(crate) unsafe fn new(
        arguments: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        let count = count.cast_unsigned();
        let extra = if names.is_null() {
            0
        } else {
            // SAFETY: keyword names come as a tuple.
            unsafe { ffi::PyTuple_GET_SIZE(names) }.cast_unsigned()
        };
        if count + extra == 0 {
            return Self { positional: &[], named: &[], names };
        }
        // SAFETY: the caller passes positional arguments first, then one for each name.
        let all = unsafe { std::slice::from_raw_parts(arguments, count + extra) };
        let (positional, by_name) = all.split_at(count);
        Self { positional, named: by_name, names }
    }

    /// Whether anything was given by name.
    #[inline]
    pub(crate) fn has_names(&self) -> bool {
        !self.named.is_empty()
    }

    /// `function(first, *these)`.
    #[cold]
    pub(crate) fn forward(&self, function: &Object, first: &Object) -> Result<Object> {
        let all: Vec<_> =
            [first.as_ptr()].into_iter().chain(self.positional.iter().chain(self.named).copied()).collect();
        // SAFETY: live arguments, those given by name last.
        unsafe {
            let count = 1 + self.positional.len();
            Object::steal(ffi::PyObject_Vectorcall(function.as_ptr(), all.as_ptr(), count, self.names))
        }
    }

    /// The positional argument at `index`.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> Option<Object> {
        // SAFETY: arguments live for the call.
        self.positional.get(index).map(|&argument| unsafe { Object::borrow(argument) })
    }

    /// The value of the only keyword there may be, if it was given; `None` where others were.
    #[inline]
    #[allow(
        clippy::option_option,
        reason = "given, absent, and 'something else was given' are three answers"
    )]
    pub(crate) fn sole_keyword(&self, known: &Object) -> Option<Option<Object>> {
        match self.named {
            [] => Some(None),
            // SAFETY: the names tuple has one item for each named argument.
            [_] if !known.is(unsafe { ffi::PyTuple_GET_ITEM(self.names, 0) }) => None,
            // SAFETY: arguments live for the call.
            &[value] => Some(Some(unsafe { Object::borrow(value) })),
            _ => None,
        }
    }

    /// The value that was given by the name `known`.
    #[inline]
    pub(crate) fn named_value(&self, known: &Object) -> Option<Object> {
        if self.named.is_empty() {
            return None;
        }
        // SAFETY: the names tuple has one item for each named argument.
        let name = |index: usize| unsafe { ffi::PyTuple_GET_ITEM(self.names, index.cast_signed()) };
        let place = (0..self.named.len()).find(|&index| place_of(name(index), &[known]).is_some())?;
        // SAFETY: arguments live for the call.
        Some(unsafe { Object::borrow(self.named[place]) })
    }

    /// Shows every keyword with its value.
    pub(crate) fn for_each_named<E>(
        &self,
        mut each: impl FnMut(&Object, &Object) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        for (index, &value) in self.named.iter().enumerate() {
            // SAFETY: names and arguments live for the call; the names tuple has one item for each.
            let (name, value) = unsafe {
                (
                    Object::borrow(ffi::PyTuple_GET_ITEM(self.names, index.cast_signed())),
                    Object::borrow(value),
                )
            };
            each(&name, &value)?;
        }
        Ok(())
    }

    /// Refuses keywords that are neither in `known` nor `also`, as CPython does.
    pub(crate) fn refuse_others(&self, function: &str, known: &[&Object], also: &Object) -> Result<()> {
        self.for_each_named(|name, _| {
            match place_of(name.as_ptr(), known).or(place_of(name.as_ptr(), &[also])) {
                Some(_) => Ok(()),
                None => Err(unexpected(function, name.as_ptr())),
            }
        })
    }

    /// As `keywords`, with `None` where there are others.
    #[inline]
    pub(crate) fn known_keywords<const N: usize>(&self, known: [&Object; N]) -> Option<[Option<Object>; N]> {
        let mut values = [const { None }; N];
        for (index, &value) in self.named.iter().enumerate() {
            // SAFETY: the names tuple has one item for each named argument.
            let name = unsafe { ffi::PyTuple_GET_ITEM(self.names, index.cast_signed()) };
            // SAFETY: arguments live for the call.
            values[place_of(name, &known)?] = Some(unsafe { Object::borrow(value) });
        }
        Some(values)
    }

    /// The one argument of a method that takes it by position or by the name `known`, with CPython's texts where the
    /// call is wrong.
    #[inline]
    pub(crate) fn sole(&self, method: &str, known: &Object) -> Result<Object> {
        match (self.positional, self.named) {
            // SAFETY: arguments live for the call.
            (&[value], []) => Ok(unsafe { Object::borrow(value) }),
            _ => self.sole_or_refused(method, known),
        }
    }

    #[cold]
    fn sole_or_refused(&self, method: &str, known: &Object) -> Result<Object> {
        match self.bind(1, 1, [known]) {
            Some([Some(value)]) => Ok(value),
            _ => Err(self.refusal(method, 1, &[known])),
        }
    }

    /// The positional arguments in a tuple, and the others, if there are any, in a dict.
    pub(crate) fn collected(&self) -> Result<(Object, Option<Object>)> {
        // SAFETY: attached.
        let py = unsafe { pyo3::Python::assume_attached() };
        // SAFETY: arguments live for the call.
        let positional = self.positional.iter().map(|&argument| unsafe { Object::borrow(argument) });
        let positional: Vec<Object> = positional.collect();
        let tuple = make::tuple(py, positional.iter().map(|argument| argument.bound(py)))?;
        if self.named.is_empty() {
            return Ok((tuple.into_any().into(), None));
        }
        let named = make::dict(py)?;
        self.for_each_named(|name, value| named.set_item(name.bound(py), value.bound(py)))?;
        Ok((tuple.into_any().into(), Some(named.into_any().into())))
    }

    /// Distributes all arguments over `known`: by position for the first `positional` of them, by name for all. `None`
    /// where one of the first `required` is missing, one comes twice, or there are others.
    #[inline]
    pub(crate) fn bind<const N: usize>(
        &self,
        positional: usize,
        required: usize,
        known: [&Object; N],
    ) -> Option<[Option<Object>; N]> {
        if self.positional.len() > positional {
            return None;
        }
        let mut values = self.known_keywords(known)?;
        for (place, &value) in values.iter_mut().zip(self.positional) {
            // SAFETY: arguments live for the call.
            if place.replace(unsafe { Object::borrow(value) }).is_some() {
                return None;
            }
        }
        values[..required].iter().all(Option::is_some).then_some(values)
    }

    /// Distributes all arguments of a method over `known`, of which none is required, with CPython's texts where the call
    /// is wrong.
    pub(crate) fn optional<const N: usize>(
        &self,
        method: &str,
        known: [&Object; N],
    ) -> Result<[Option<Object>; N]> {
        self.bind(N, 0, known).ok_or_else(|| self.refusal(method, 0, &known))
    }

    /// What CPython says of the call of a method that `bind` has refused, all of whose arguments may come by position.
    #[cold]
    pub(crate) fn refusal(&self, method: &str, required: usize, known: &[&Object]) -> Raised {
        let (given, most) = (self.positional.len(), known.len());
        let mut places = Vec::new();
        let wrong = self.for_each_named(|name, _| match place_of(name.as_ptr(), known) {
            None => Err(unexpected(method, name.as_ptr())),
            Some(place) if place < given => {
                Err(mistaken(method, &format!("got multiple values for argument '{}'", shown(name))))
            }
            Some(place) => {
                places.push(place);
                Ok(())
            }
        });
        if let Err(raised) = wrong {
            return raised;
        }
        if given > most {
            let from = if required < most { format!("from {} to ", required + 1) } else { String::new() };
            let text = format!("takes {from}{} positional arguments but {} were given", most + 1, given + 1);
            return mistaken(method, &text);
        }
        let missing = (given..required).filter(|place| !places.contains(place));
        missing_arguments(method, missing.map(|place| known[place]))
    }

    /// Distributes the keywords over `known` (their values come back in that order); others are refused as
    /// CPython does.
    #[inline]
    pub(crate) fn keywords<const N: usize>(
        &self,
        function: &str,
        known: [&Object; N],
    ) -> Result<[Option<Object>; N]> {
        let mut values = [const { None }; N];
        for (index, &value) in self.named.iter().enumerate() {
            // SAFETY: the names tuple has one item for each named argument.
            let name = unsafe { ffi::PyTuple_GET_ITEM(self.names, index.cast_signed()) };
            let place = place_of(name, &known).ok_or_else(|| unexpected(function, name))?;
            // SAFETY: arguments live for the call.
            values[place] = Some(unsafe { Object::borrow(value) });
        }
        Ok(values)
    }
}

#[inline]
fn place_of(name: *mut ffi::PyObject, known: &[&Object]) -> Option<usize> {
    // Keyword names in code are interned, so identity nearly always decides.
    known.iter().position(|known| known.is(name)).or_else(|| {
        known.iter().position(|known| {
            // SAFETY: both are live strings.
            unsafe { ffi::PyUnicode_Compare(known.as_ptr(), name) == 0 }
        })
    })
}

/// The TypeError for a call that is wrong, in CPython's words.
#[cold]
pub(crate) fn mistaken(method: &str, text: &str) -> Raised {
    PyTypeError::with_text(format!("{method}() {text}")).into()
}

/// The same for arguments that nobody has given.
#[cold]
pub(crate) fn missing_arguments<'a>(method: &str, names: impl Iterator<Item = &'a Object>) -> Raised {
    let missing: Vec<_> = names.map(|name| format!("'{}'", shown(name))).collect();
    let (count, plural) = (missing.len(), if missing.len() == 1 { "" } else { "s" });
    let text = format!("missing {count} required positional argument{plural}: {}", missing.join(" and "));
    mistaken(method, &text)
}

/// The name of an argument.
pub(crate) fn shown(name: &Object) -> String {
    // SAFETY: attached.
    name.bound(unsafe { pyo3::Python::assume_attached() }).to_string()
}

#[cold]
fn unexpected(function: &str, name: *mut ffi::PyObject) -> Raised {
    // SAFETY: keyword names are live strings.
    let name = unsafe { Object::borrow(name) };
    let name = shown(&name);
    // asyncio's own C methods said it differently before 3.13, its Python ones (their names have a dot) never did.
    if cfg!(not(Py_3_13)) && !function.contains('.') {
        return PyTypeError::with_text(format!("'{name}' is an invalid keyword argument for {function}()"))
            .into();
    }
    mistaken(function, &format!("got an unexpected keyword argument '{name}'"))
}

/// `__init__`'s arguments taken apart by CPython's own format language; absent ones stay null.
///
/// # Safety
/// `positional` and `keywords` come from `tp_init`; `format` asks for exactly `N` objects, and `names` has
/// `N` names and a final null.
pub(crate) unsafe fn parse<const N: usize>(
    positional: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
    format: &CStr,
    names: &[*const c_char],
) -> Result<[Option<Object>; N]> {
    debug_assert_eq!(names.len(), N + 1);
    // Formats of up to five objects exist; unused places are never written.
    let mut values: [*mut ffi::PyObject; 5] = [std::ptr::null_mut(); 5];
    let [first, second, third, fourth, fifth] = &mut values;
    // SAFETY: the caller vouches for format and names; at least as many places as the format asks for follow.
    let parsed = unsafe {
        ffi::PyArg_ParseTupleAndKeywords(
            positional,
            keywords,
            format.as_ptr(),
            names.as_ptr().cast_mut().cast(),
            std::ptr::from_mut(first),
            std::ptr::from_mut(second),
            std::ptr::from_mut(third),
            std::ptr::from_mut(fourth),
            std::ptr::from_mut(fifth),
        )
    };
    if parsed == 0 {
        return Err(Raised);
    }
    // SAFETY: parsed arguments are null or borrowed from the live tuple and dict.
    Ok(std::array::from_fn(|index| unsafe { Object::borrow_opt(values[index]) }))
}

/// An argument of PyO3's methods that may be left out, and be None like any other value.
pub(crate) struct Given<'py>(pub(crate) Option<Bound<'py, PyAny>>);

impl Given<'_> {
    /// Its default.
    pub(crate) const NOT: Self = Self(None);
}

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = std::convert::Infallible;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> std::result::Result<Self, Self::Error> {
        Ok(Self(Some(object.to_owned())))
    }
}
