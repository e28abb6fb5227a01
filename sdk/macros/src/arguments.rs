//! What the attributes share: names, arguments, results.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, GenericArgument, Ident, Lit, Meta, MetaNameValue,
    PathArguments, ReturnType, Signature, Token, Type,
};

/// What is written in the parentheses of an attribute.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `name = "…"`
    pub(crate) name: Option<String>,
    /// `validator = METHOD`
    pub(crate) validator: Option<Ident>,
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream, validator: bool) -> syn::Result<Self> {
        let pairs = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Self::default();
        for pair in pairs {
            match (
                &pair.value,
                pair.path.get_ident().map(Ident::to_string).as_deref(),
            ) {
                (
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(name),
                        ..
                    }),
                    Some("name"),
                ) => options.name = Some(name.value()),
                (Expr::Path(path), Some("validator")) if validator => {
                    options.validator = path.path.get_ident().cloned();
                }
                _ => {
                    let known = match validator {
                        true => "`name = \"…\"` or `validator = METHOD`",
                        false => "`name = \"…\"`",
                    };
                    return Err(syn::Error::new(pair.span(), format!("expected {known}")));
                }
            }
        }
        Ok(options)
    }

    pub(crate) fn of(attribute: &Attribute, validator: bool) -> syn::Result<Self> {
        match &attribute.meta {
            Meta::Path(_) => Ok(Self::default()),
            Meta::List(list) => Self::parse(list.tokens.clone(), validator),
            Meta::NameValue(pair) => Err(syn::Error::new(pair.span(), "expected `(name = \"…\")`")),
        }
    }
}

/// Takes the attribute of this name away from a method.
pub(crate) fn take_attribute(attributes: &mut Vec<Attribute>, name: &str) -> Option<Attribute> {
    let index = attributes
        .iter()
        .position(|found| found.path().is_ident(name))?;
    Some(attributes.remove(index))
}

/// The constant that names a function.
pub(crate) fn constant(function: &Ident) -> Ident {
    let name = function.to_string().trim_start_matches("r#").to_uppercase();
    Ident::new(&name, function.span())
}

/// The types of the arguments behind the first `skip`.
pub(crate) fn types(signature: &Signature, skip: usize) -> syn::Result<Vec<Type>> {
    let mut types = Vec::new();
    for argument in signature.inputs.iter().skip(skip) {
        match argument {
            FnArg::Typed(typed) => types.push((*typed.ty).clone()),
            FnArg::Receiver(receiver) => {
                return Err(syn::Error::new(
                    receiver.span(),
                    "no `self` is expected here",
                ));
            }
        }
    }
    if types.len() > 6 {
        let message = "at most six arguments; a struct has room for more";
        return Err(syn::Error::new(signature.inputs.span(), message));
    }
    Ok(types)
}

/// The last segment of a path type.
fn last_segment(of: &Type) -> Option<&syn::PathSegment> {
    match of {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The type of the first argument is this one.
pub(crate) fn first_is(signature: &Signature, name: &str) -> bool {
    match signature.inputs.first() {
        Some(FnArg::Typed(typed)) => {
            last_segment(&typed.ty).is_some_and(|segment| segment.ident == name)
        }
        _ => false,
    }
}

/// Names for arguments of these types.
fn names(types: &[Type]) -> Vec<Ident> {
    let name = |index| Ident::new(&format!("argument_{index}"), Span::call_site());
    (0..types.len()).map(name).collect()
}

/// The arguments as one type, a pattern of that type, and the arguments as they are passed on.
pub(crate) fn packed(types: &[Type]) -> (TokenStream, TokenStream, TokenStream) {
    let names = names(types);
    match types {
        [] => (quote!(()), quote!(()), quote!()),
        [one] => (quote!(#one), quote!(argument_0), quote!(argument_0)),
        _ => (
            quote!(::steadfast_sdk::Args<(#(#types,)*)>),
            quote!(::steadfast_sdk::Args((#(#names,)*))),
            quote!(#(#names),*),
        ),
    }
}

/// What a function gives, and whether it is a `Result`.
pub(crate) fn output(signature: &Signature) -> (TokenStream, bool) {
    let ReturnType::Type(_, given) = &signature.output else {
        return (quote!(()), false);
    };
    let Some(segment) = last_segment(given).filter(|segment| segment.ident == "Result") else {
        return (quote!(#given), false);
    };
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return (quote!(()), true);
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(ok)) => (quote!(#ok), true),
        _ => (quote!(()), true),
    }
}

/// Refuses what is not `async`.
pub(crate) fn must_be_async(signature: &Signature, what: &str) -> syn::Result<()> {
    match signature.asyncness {
        Some(_) => Ok(()),
        None => {
            let message = format!("{what} is an `async fn`");
            Err(syn::Error::new(signature.fn_token.span(), message))
        }
    }
}

/// Refuses what gives no `Result`.
pub(crate) fn must_give_result(signature: &Signature, what: &str) -> syn::Result<TokenStream> {
    match output(signature) {
        (ok, true) => Ok(ok),
        (_, false) => {
            let message = format!("{what} gives a `Result<…>`");
            Err(syn::Error::new(signature.span(), message))
        }
    }
}

/// Refuses parameters of types: the server knows names only.
pub(crate) fn must_not_be_generic(signature: &Signature, what: &str) -> syn::Result<()> {
    match signature.generics.params.first() {
        None => Ok(()),
        Some(parameter) => {
            let message = format!("{what} has no type parameters: it is called by its name");
            Err(syn::Error::new(parameter.span(), message))
        }
    }
}
