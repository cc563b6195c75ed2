//! Renders the introspection XML for people: `docs/api.md` and the manual page `org.warren1(5)`.
//!
//! Owns the form. Must never add a meaning: each sentence on a member is in `dbus/*.xml`.

use std::fmt::Write;

use zbus_xml::{Annotation, Arg, Interface, Node};

/// The closed list of errors: name and meaning.
pub(crate) type Errors = Vec<(String, String)>;

/// The docstring among these annotations, on one line; empty where there is none.
pub(crate) fn doc<'a>(annotations: impl IntoIterator<Item = &'a Annotation<'a>>) -> String {
    let mut annotations = annotations.into_iter();
    let found = annotations.find(|a| a.name() == "org.gtk.GDBus.DocString");
    found.map_or_else(String::new, |a| a.value().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// `Start(a{sv} options) → o job`.
fn signature(name: &str, args: &[Arg<'_>], signal: bool) -> String {
    let (mut inward, mut outward) = (Vec::new(), Vec::new());
    for arg in args {
        let shown = format!("{} {}", arg.ty().to_string(), arg.name().unwrap_or("?"));
        let out = arg.direction().is_some_and(|d| matches!(d, zbus_xml::ArgDirection::Out));
        if out && !signal { outward.push(shown) } else { inward.push(shown) }
    }
    let arrow = if outward.is_empty() { String::new() } else { format!(" → {}", outward.join(", ")) };
    format!("{name}({}){arrow}", inward.join(", "))
}

const HEAD: &str = "# The interfaces

Rendered from [`dbus/`](../dbus/), which is the contract, by `make docs`; `make test` fails where the two differ.
What stands here keeps its name, signature and meaning; members are added in later releases. What is
`NotSupported in this release` is there already, with its signature, and answers that error.

Service `org.warren1` on the system bus or a session bus; root `/org/warren1`, with
`org.freedesktop.DBus.ObjectManager`; objects `/org/warren1/network/UUID`, `/org/warren1/domain/UUID` (`_` for `-`)
and `/org/warren1/job/N`. [Recipes for busctl](busctl.md); clients in [`examples/clients/`](../examples/clients/).

";

const CONVENTIONS: [&str; 8] = [
    "`options a{sv}` is the last argument of every method but plain look-ups; an unknown key is an error that \
     names it.",
    "Words stand for enumerations, dictionaries for records; sizes are in bytes, times in microseconds.",
    "Properties are public to every local user and never writable. They change, with one PropertiesChanged, \
     before the reply to the call that changed them.",
    "What is not public is answered by methods, to those whom polkit lets, and told by unicast signals to \
     callers that Subscribe has admitted.",
    "A method that answers an object path is done if that is `/`; else it is a Job that goes on, after 20 \
     seconds, or at once with `no-wait`. To miss nothing, listen for Completed before the call.",
    "A definition has a Generation; with `if-generation` a change that somebody else overtook is refused.",
    "polkit is asked for the verb before a document is read, and for what the document needs afterwards. A \
     prompt is shown only if the message's flag allows interaction, and is withdrawn when the caller leaves. \
     About root it is not asked: its answer is always yes.",
    "One user has a share of the service (calls in flight, work, objects, subscriptions); beyond it \
     LimitExceeded comes at once.",
];

/// `docs/api.md`.
pub(crate) fn markdown(nodes: &[Node<'_>], errors: &Errors) -> String {
    let mut out = HEAD.to_owned();
    for line in CONVENTIONS {
        writeln!(out, "- {line}").unwrap();
    }
    for interface in nodes.iter().flat_map(|node| node.interfaces()) {
        markdown_interface(&mut out, interface);
    }
    out += "\n## Errors\n\n`org.warren1.Error.` and one of these; authorisation uses the standard \
            `org.freedesktop.DBus.Error.AccessDenied` and `InteractiveAuthorizationRequired`.\n\n| error | when |\n|---|---|\n";
    for (name, meaning) in errors {
        writeln!(out, "| `{name}` | {meaning} |").unwrap();
    }
    out += "\n## polkit\n\nThe actions, with their defaults, are in [`policy/org.warren1.policy`](../policy/\
            org.warren1.policy). Rules see the details `object` (its path) and, of one that exists, `name` and \
            `owner`; of what a document needs, `name` and `place`, which has every place, with `, ` between, and of \
            a domain's document `owner`, who owns the domain or would own it.\n";
    out
}

fn markdown_interface(out: &mut String, interface: &Interface<'_>) {
    write!(out, "\n## {}\n\n{}\n", interface.name(), doc(interface.annotations())).unwrap();
    if interface.properties().next().is_some() {
        *out += "\n### Properties\n\n| property | type | meaning |\n|---|---|---|\n";
        for property in interface.properties() {
            let meaning = doc(property.annotations());
            writeln!(out, "| `{}` | `{}` | {meaning} |", property.name(), property.ty().to_string()).unwrap();
        }
    }
    *out += "\n### Methods\n";
    for method in interface.methods() {
        let name = method.name().to_string();
        write!(
            out,
            "\n#### `{}`\n\n{}\n\n",
            signature(&name, method.args(), false),
            doc(method.annotations())
        )
        .unwrap();
        markdown_args(out, method.args());
    }
    if interface.signals().next().is_some() {
        *out += "\n### Signals\n";
        for signal in interface.signals() {
            let name = signal.name().to_string();
            write!(
                out,
                "\n#### `{}`\n\n{}\n\n",
                signature(&name, signal.args(), true),
                doc(signal.annotations())
            )
            .unwrap();
            markdown_args(out, signal.args());
        }
    }
}

fn markdown_args(out: &mut String, args: &[Arg<'_>]) {
    for arg in args {
        writeln!(out, "- `{}`: {}", arg.name().unwrap_or("?"), doc(arg.annotations())).unwrap();
    }
}

/// Text in roff: no line begins with a request, and backslashes and dashes are what they are.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('→', "\\(->").replace('`', "");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// `man/org.warren1.5`.
pub(crate) fn man(nodes: &[Node<'_>], errors: &Errors) -> String {
    let mut out = ".\\\" Rendered from dbus/*.xml; `make docs` does it again.\n.TH ORG.WARREN1 5 \"\" Warren \
                   \"File formats and conventions\"\n.SH NAME\norg.warren1 \\- the D\\-Bus interfaces of Warren\n\
                   .SH DESCRIPTION\nThe service\n.B org.warren1\non the system bus or a session bus manages QEMU \
                   virtual machines and the virtual networks between them. Its root is\n.IR /org/warren1 ,\nits \
                   objects are\n.IR /org/warren1/network/UUID ,\n.I /org/warren1/domain/UUID\n(with _ for \\-) \
                   and\n.IR /org/warren1/job/N .\n"
        .to_owned();
    for line in CONVENTIONS {
        write!(out, ".IP \\(bu 2\n{}\n", roff(line)).unwrap();
    }
    for interface in nodes.iter().flat_map(|node| node.interfaces()) {
        let title = interface.name().to_string().to_uppercase();
        write!(out, ".SH {}\n{}\n", roff(&title), roff(&doc(interface.annotations()))).unwrap();
        for property in interface.properties() {
            let (name, ty) = (property.name().to_string(), property.ty().to_string());
            write!(out, ".TP\n.BI {name} \" {ty}\"\n{}\n", roff(&doc(property.annotations()))).unwrap();
        }
        for method in interface.methods() {
            man_member(
                &mut out,
                &method.name().to_string(),
                method.args(),
                &doc(method.annotations()),
                false,
            );
        }
        for signal in interface.signals() {
            man_member(&mut out, &signal.name().to_string(), signal.args(), &doc(signal.annotations()), true);
        }
    }
    out += ".SH ERRORS\n";
    for (name, meaning) in errors {
        write!(out, ".TP\n.B org.warren1.Error.{name}\n{}\n", roff(meaning)).unwrap();
    }
    out += ".SH SEE ALSO\n.BR warrenctl (1),\n.BR warrend (8),\n.BR busctl (1),\n.BR polkit (8)\n";
    out
}

fn man_member(out: &mut String, name: &str, args: &[Arg<'_>], meaning: &str, signal: bool) {
    let kind = if signal { "signal " } else { "" };
    let head = roff(&signature(name, args, signal));
    write!(out, ".TP\n{kind}\\fB{head}\\fR\n{}\n", roff(meaning)).unwrap();
    for arg in args {
        let meaning = roff(&doc(arg.annotations()));
        write!(out, ".RS\n.IP \\fI{}\\fR 4\n{meaning}\n.RE\n", arg.name().unwrap_or("?")).unwrap();
    }
}
