//! `#[workflow]`.

use crate::arguments::{
    Options, constant, first_is, must_be_async, must_give_result, must_not_be_generic, output,
    packed, take_attribute, types,
};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, ImplItem, ImplItemFn, Item, ItemFn, ItemImpl, Type};

pub(crate) fn expand(attributes: TokenStream, item: Item) -> syn::Result<TokenStream> {
    let options = Options::parse(attributes, false)?;
    match item {
        Item::Fn(function) => expand_function(options, function),
        Item::Impl(of_state) => expand_impl(options, of_state),
        other => Err(syn::Error::new(
            other.span(),
            "`#[workflow]` is for an `async fn` or the `impl` of a workflow's state",
        )),
    }
}

/// `send_invoice` as a type: `SendInvoice`.
fn type_name(function: &Ident) -> Ident {
    let name = function.to_string();
    let mut camel = String::new();
    for word in name.trim_start_matches("r#").split('_') {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.extend(letters);
    }
    Ident::new(&camel, function.span())
}

fn expand_function(options: Options, item: ItemFn) -> syn::Result<TokenStream> {
    let signature = &item.sig;
    must_be_async(signature, "a workflow")?;
    must_not_be_generic(signature, "a workflow")?;
    let output = must_give_result(signature, "a workflow")?;
    let (input, pattern, passed) = packed(&types(signature, 0)?);
    let state = type_name(&signature.ident);
    let name = options.name.unwrap_or_else(|| state.to_string());
    let function = &signature.ident;
    let visibility = &item.vis;
    let about = format!("The workflow `{name}`.");
    Ok(quote! {
        #item

        #[doc = #about]
        #[derive(Debug, Default)]
        #visibility struct #state;

        impl #state {
            /// The workflow, by its name and types.
            #visibility const RUN: ::steadfast_sdk::Workflow<#state, #input, #output> =
                ::steadfast_sdk::Workflow::named(#name);
        }

        impl ::steadfast_sdk::workflow::WorkflowImpl for #state {
            type Input = #input;
            type Output = #output;
            const NAME: &'static str = #name;

            fn init(_: &Self::Input) -> Self {
                Self
            }

            async fn run(
                _: ::steadfast_sdk::workflow::Shared<Self>,
                #pattern: Self::Input,
            ) -> ::steadfast_sdk::Result<Self::Output> {
                #function(#passed).await
            }

            fn handlers() -> ::steadfast_sdk::workflow::Handlers<Self> {
                ::steadfast_sdk::workflow::Handlers::new()
            }
        }
    })
}

#[derive(Default)]
struct Parts {
    run: Option<Run>,
    init: Option<TokenStream>,
    constants: Vec<TokenStream>,
    handlers: Vec<TokenStream>,
}

struct Run {
    input: TokenStream,
    output: TokenStream,
    body: TokenStream,
    visibility: syn::Visibility,
    constant: Ident,
}

fn expand_impl(options: Options, mut item: ItemImpl) -> syn::Result<TokenStream> {
    let state = (*item.self_ty).clone();
    let name = match (&options.name, &state) {
        (Some(name), _) => name.clone(),
        (None, Type::Path(path)) => {
            let last = path.path.segments.last();
            last.map(|segment| segment.ident.to_string())
                .unwrap_or_default()
        }
        (None, other) => {
            return Err(syn::Error::new(
                other.span(),
                "a workflow's state is a type",
            ));
        }
    };
    let mut parts = Parts::default();
    for inner in &mut item.items {
        if let ImplItem::Fn(method) = inner {
            take(&state, method, &mut parts)?;
        }
    }
    let Some(run) = parts.run else {
        let message = "a workflow needs a method with `#[run]`";
        return Err(syn::Error::new(state.span(), message));
    };
    let Run {
        input,
        output,
        body,
        visibility,
        constant,
    } = run;
    let init = parts
        .init
        .unwrap_or_else(|| quote!(::std::default::Default::default()));
    let (constants, handlers) = (parts.constants, parts.handlers);
    Ok(quote! {
        #item

        impl #state {
            /// The workflow, by its name and types.
            #visibility const #constant: ::steadfast_sdk::Workflow<#state, #input, #output> =
                ::steadfast_sdk::Workflow::named(#name);
            #(#constants)*
        }

        impl ::steadfast_sdk::workflow::WorkflowImpl for #state {
            type Input = #input;
            type Output = #output;
            const NAME: &'static str = #name;

            fn init(input: &Self::Input) -> Self {
                let _ = input;
                #init
            }

            #body

            fn handlers() -> ::steadfast_sdk::workflow::Handlers<Self> {
                ::steadfast_sdk::workflow::Handlers::new() #(#handlers)*
            }
        }
    })
}

/// Takes what a method's attribute says.
fn take(state: &Type, method: &mut ImplItemFn, parts: &mut Parts) -> syn::Result<()> {
    if take_attribute(&mut method.attrs, "run").is_some() {
        if parts.run.is_some() {
            return Err(syn::Error::new(
                method.span(),
                "a workflow has one `#[run]`",
            ));
        }
        parts.run = Some(run(method)?);
    }
    if take_attribute(&mut method.attrs, "init").is_some() {
        let function = &method.sig.ident;
        parts.init = Some(match method.sig.inputs.len() {
            0 => quote!(Self::#function()),
            _ => quote!(Self::#function(input)),
        });
    }
    for kind in ["signal", "query", "update"] {
        if let Some(attribute) = take_attribute(&mut method.attrs, kind) {
            let options = Options::of(&attribute, kind == "update")?;
            handler(state, method, kind, options, parts)?;
        }
    }
    Ok(())
}

fn run(method: &ImplItemFn) -> syn::Result<Run> {
    let signature = &method.sig;
    must_be_async(signature, "`#[run]`")?;
    must_not_be_generic(signature, "`#[run]`")?;
    let output = must_give_result(signature, "`#[run]`")?;
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        let message =
            "`#[run]` takes `Shared<Self>`, so that signals can change the state meanwhile";
        return Err(syn::Error::new(receiver.span(), message));
    }
    let with_state = first_is(signature, "Shared");
    let (input, pattern, passed) = packed(&types(signature, usize::from(with_state))?);
    let function = &signature.ident;
    let state = with_state.then(|| quote!(state,));
    let body = quote! {
        async fn run(
            state: ::steadfast_sdk::workflow::Shared<Self>,
            #pattern: Self::Input,
        ) -> ::steadfast_sdk::Result<Self::Output> {
            let _ = &state;
            Self::#function(#state #passed).await
        }
    };
    Ok(Run {
        input,
        output,
        body,
        visibility: method.vis.clone(),
        constant: constant(function),
    })
}

/// Refuses a handler that takes something else than its kind does.
fn must_fit(signature: &syn::Signature, kind: &str) -> syn::Result<()> {
    let waits = signature.asyncness.is_some();
    let receiver = match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => Some(receiver),
        Some(FnArg::Typed(_)) | None => None,
    };
    let fits = match (kind, waits) {
        ("query", true) => {
            return Err(syn::Error::new(signature.span(), "a query does not wait"));
        }
        ("query", false) => receiver.is_some_and(|found| found.mutability.is_none()),
        (_, true) => first_is(signature, "Shared"),
        (_, false) => receiver.is_some(),
    };
    if !fits {
        let message = match (kind, waits) {
            ("query", _) => "a query takes `&self`",
            (_, true) => "a handler that waits takes `Shared<Self>`",
            (_, false) => "a handler takes `&mut self`, or is `async` and takes `Shared<Self>`",
        };
        return Err(syn::Error::new(signature.ident.span(), message));
    }
    Ok(())
}

fn handler(
    state: &Type,
    method: &ImplItemFn,
    kind: &str,
    options: Options,
    parts: &mut Parts,
) -> syn::Result<()> {
    let signature = &method.sig;
    must_not_be_generic(signature, &format!("`#[{kind}]`"))?;
    let waits = signature.asyncness.is_some();
    must_fit(signature, kind)?;
    let given = types(signature, 1)?;
    let (input, pattern, passed) = packed(&given);
    let name = options.name.unwrap_or_else(|| signature.ident.to_string());
    let function = &signature.ident;
    let constant = constant(function);
    let visibility = &method.vis;
    let (output, is_result) = output(signature);
    let about = format!("The {kind} `{name}`, by its name and types.");
    let (definition, types) = match kind {
        "signal" => (format_ident!("Signal"), quote!(#state, #input)),
        "query" => (format_ident!("Query"), quote!(#state, #input, #output)),
        _ => (format_ident!("Update"), quote!(#state, #input, #output)),
    };
    parts.constants.push(quote! {
        #[doc = #about]
        #visibility const #constant: ::steadfast_sdk::#definition<#types> =
            ::steadfast_sdk::#definition::named(#name);
    });
    let call = match (waits, is_result || kind == "signal") {
        (false, true) => quote!(state.#function(#passed)),
        (false, false) => quote!(::std::result::Result::Ok(state.#function(#passed))),
        (true, true) => quote!(Self::#function(state, #passed).await),
        (true, false) => quote!(::std::result::Result::Ok(Self::#function(state, #passed).await)),
    };
    parts
        .handlers
        .push(addition(kind, waits, &name, &input, &pattern, &call));
    if let Some(validator) = options.validator {
        let call = match given.len() {
            0 => quote!(state.#validator()),
            1 => quote!(state.#validator(input)),
            _ => {
                let message = "an update with a validator takes one argument: a struct";
                return Err(syn::Error::new(signature.inputs.span(), message));
            }
        };
        parts.handlers.push(quote! {
            .validator(#name, |state: &Self, input: &#input| {
                let _ = input;
                #call
            })
        });
    }
    Ok(())
}

/// The line that adds a handler.
fn addition(
    kind: &str,
    waits: bool,
    name: &str,
    input: &TokenStream,
    pattern: &TokenStream,
    call: &TokenStream,
) -> TokenStream {
    match (kind, waits) {
        ("signal", false) => {
            quote!(.signal(#name, |state: &mut Self, #pattern: #input| { #call; }))
        }
        ("query", _) => quote!(.query(#name, |state: &Self, #pattern: #input| #call)),
        ("update", false) => quote!(.update(#name, |state: &mut Self, #pattern: #input| #call)),
        ("signal", true) => quote! {
            .signal_async(
                #name,
                |state: ::steadfast_sdk::workflow::Shared<Self>, #pattern: #input| async move {
                    #call;
                },
            )
        },
        _ => quote! {
            .update_async(
                #name,
                |state: ::steadfast_sdk::workflow::Shared<Self>, #pattern: #input| async move {
                    #call
                },
            )
        },
    }
}
