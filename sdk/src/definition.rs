//! Names with types: what a workflow calls, and what calls a workflow.
//!
//! The macros write these constants beside the code that they name. A constant can as well be written
//! by hand, for an activity or a workflow that runs in another language:
//!
//! ```
//! use steadfast_sdk::Activity;
//!
//! const CHARGE: Activity<u64, String> = Activity::named("ChargeCard");
//! # assert_eq!(CHARGE.name(), "ChargeCard");
//! ```

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// What a definition says with types only; it owns nothing of them.
type Types<T> = PhantomData<fn() -> T>;

macro_rules! definition {
    ($(#[$about:meta])* $name:ident <$($parameter:ident),+>) => {
        $(#[$about])*
        pub struct $name<$($parameter),+> {
            name: Cow<'static, str>,
            types: Types<($($parameter,)+)>,
        }

        impl<$($parameter),+> $name<$($parameter),+> {
            /// Of this name, as the server and other languages know it.
            pub const fn named(name: &'static str) -> Self {
                Self { name: Cow::Borrowed(name), types: PhantomData }
            }

            /// Of a name that is only known at run time.
            pub fn of_name(name: impl Into<String>) -> Self {
                Self { name: Cow::Owned(name.into()), types: PhantomData }
            }

            /// As the server knows it.
            pub fn name(&self) -> &str {
                &self.name
            }
        }

        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                Self { name: self.name.clone(), types: PhantomData }
            }
        }

        impl<$($parameter),+> fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_tuple(stringify!($name)).field(&self.name).finish()
            }
        }
    };
}

definition! {
    /// An activity that takes `I` and gives `O`.
    Activity<I, O>
}
definition! {
    /// A workflow whose state is `W`, which takes `I` and gives `O`. `W` ties signals, queries and
    /// updates to it; a workflow without state has its own constant's name there.
    Workflow<W, I, O>
}
definition! {
    /// A signal that workflows of `W` take, with `I`.
    Signal<W, I>
}
definition! {
    /// A query that workflows of `W` answer: takes `I`, gives `O`.
    Query<W, I, O>
}
definition! {
    /// An update that workflows of `W` take: takes `I`, gives `O`.
    Update<W, I, O>
}
