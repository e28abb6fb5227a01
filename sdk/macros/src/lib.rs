//! Attributes of the Rust SDK. They leave the code as it is and add constants that name it with its
//! types: `Order::RUN`, `Order::CANCEL`, `Payments::CHARGE`, `GREET`.

mod activity;
mod arguments;
mod workflow;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// A workflow: an `impl` of its state with `#[run]`, or an `async fn` without state.
///
/// In an `impl`, `#[run]` marks the workflow itself, `#[init]` what makes its state from its input
/// (`Default` otherwise), `#[signal]`, `#[query]` and `#[update]` what it does when it is called. An
/// update may have a validator: `#[update(validator = METHOD)]`. Methods that wait are `async` and take
/// `Shared<Self>`; others take `&mut self`, a query `&self`. All take `name = "…"`, when the name for
/// the server is another one than in Rust.
#[proc_macro_attribute]
pub fn workflow(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::Item);
    let expanded = workflow::expand(attributes.into(), item);
    expanded
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// An activity without state: an `async fn` that gives a `Result`. A constant with its name in capitals
/// names it.
#[proc_macro_attribute]
pub fn activity(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::ItemFn);
    let expanded = activity::expand_function(attributes.into(), item);
    expanded
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Activities that share a state: an `impl` whose `#[activity]` methods take `&self`.
#[proc_macro_attribute]
pub fn activities(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::ItemImpl);
    let expanded = activity::expand_impl(attributes.into(), item);
    expanded
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
