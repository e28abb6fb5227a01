//! `#[activity]` and `#[activities]`.

use crate::arguments::{
    Options, constant, first_is, must_be_async, must_give_result, must_not_be_generic, packed,
    take_attribute, types,
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{FnArg, ImplItem, ImplItemFn, ItemFn, ItemImpl};

pub(crate) fn expand_function(attributes: TokenStream, item: ItemFn) -> syn::Result<TokenStream> {
    let options = Options::parse(attributes, false)?;
    let signature = &item.sig;
    must_be_async(signature, "an activity")?;
    must_not_be_generic(signature, "an activity")?;
    let output = must_give_result(signature, "an activity")?;
    let with_context = first_is(signature, "ActivityContext");
    let (input, _, _) = packed(&types(signature, usize::from(with_context))?);
    let name = options.name.unwrap_or_else(|| signature.ident.to_string());
    let constant = constant(&signature.ident);
    let visibility = &item.vis;
    let about = format!("The activity `{name}`, by its name and types.");
    Ok(quote! {
        #item

        #[doc = #about]
        #visibility const #constant: ::steadfast_sdk::Activity<#input, #output> =
            ::steadfast_sdk::Activity::named(#name);
    })
}

struct Method {
    constant: TokenStream,
    registration: TokenStream,
}

pub(crate) fn expand_impl(attributes: TokenStream, mut item: ItemImpl) -> syn::Result<TokenStream> {
    if !attributes.is_empty() {
        return Err(syn::Error::new(
            attributes.span(),
            "`#[activities]` takes nothing",
        ));
    }
    let mut methods = Vec::new();
    for inner in &mut item.items {
        if let ImplItem::Fn(method) = inner
            && let Some(attribute) = take_attribute(&mut method.attrs, "activity")
        {
            let options = Options::of(&attribute, false)?;
            methods.push(expand_method(method, options)?);
        }
    }
    if methods.is_empty() {
        let message = "no method has `#[activity]`";
        return Err(syn::Error::new(item.self_ty.span(), message));
    }
    let state = &item.self_ty;
    let constants = methods.iter().map(|method| &method.constant);
    let registrations = methods.iter().map(|method| &method.registration);
    Ok(quote! {
        #item

        impl #state {
            #(#constants)*
        }

        impl ::steadfast_sdk::worker::Activities for #state {
            fn register(
                self: ::std::sync::Arc<Self>,
                to: &mut ::steadfast_sdk::worker::ActivityRegistry,
            ) {
                #(#registrations)*
            }
        }
    })
}

fn expand_method(method: &ImplItemFn, options: Options) -> syn::Result<Method> {
    let signature = &method.sig;
    must_be_async(signature, "an activity")?;
    must_not_be_generic(signature, "an activity")?;
    let output = must_give_result(signature, "an activity")?;
    let by_reference = matches!(
        signature.inputs.first(),
        Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.mutability.is_none()
    );
    if !by_reference {
        let message = "an activity of `#[activities]` takes `&self`";
        return Err(syn::Error::new(signature.ident.span(), message));
    }
    let with_context = match signature.inputs.iter().nth(1) {
        Some(FnArg::Typed(typed)) => match &*typed.ty {
            syn::Type::Path(path) => {
                let last = path.path.segments.last();
                last.is_some_and(|segment| segment.ident == "ActivityContext")
            }
            _ => false,
        },
        _ => false,
    };
    let (input, pattern, passed) = packed(&types(signature, 1 + usize::from(with_context))?);
    let name = options.name.unwrap_or_else(|| signature.ident.to_string());
    let constant = constant(&signature.ident);
    let function = &signature.ident;
    let visibility = &method.vis;
    let about = format!("The activity `{name}`, by its name and types.");
    let context = with_context.then(|| quote!(context,));
    Ok(Method {
        constant: quote! {
            #[doc = #about]
            #visibility const #constant: ::steadfast_sdk::Activity<#input, #output> =
                ::steadfast_sdk::Activity::named(#name);
        },
        registration: quote! {
            let state = ::std::sync::Arc::clone(&self);
            to.add(
                Self::#constant,
                move |context: ::steadfast_sdk::worker::ActivityContext, #pattern: #input| {
                    let state = ::std::sync::Arc::clone(&state);
                    async move {
                        let _ = &context;
                        state.#function(#context #passed).await
                    }
                },
            );
        },
    })
}
