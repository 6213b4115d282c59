"""The library's own functions of integers as JavaScript, so that the page computes what `jaxconv.sizes` computes.

Understood is what such functions are written in: assignments, `if`, `for`, `match` on strings, `return`, arithmetic,
comparisons, f-strings, tuples, calls of each other. Anything else is an error here, when the page is made, and not a
wrong number there. The names of Python that they call (`range`, `len`, `pow`, …) stand in runtime.js.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

RESERVED = {"function", "default", "new", "this", "var", "let", "const", "case", "switch", "typeof", "void"}
BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
COMPARED = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!=="}


def javascript(function: Callable[..., Any]) -> str:
    """A function of plain integers and strings, as a function of JavaScript with the same name.

    Raises:
        NotImplementedError: it is written in something that is not understood here.

    >>> from jaxconv.sizes.arithmetic import window_size
    >>> print(javascript(window_size))
    function window_size(k, d) {
      return ((d * (k - 1)) + 1);
    }
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    if not isinstance(tree, ast.FunctionDef):
        _refuse(tree)
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    names = dict.fromkeys(_name(name) for statement in body for name in _assigned(statement))
    lines = [f"let {', '.join(names)};"] if names else []
    lines += [line for statement in body for line in _statement(statement)]
    parameters = ", ".join(_name(each.arg) for each in tree.args.args)
    return "\n".join([f"function {tree.name}({parameters}) {{", *(f"  {line}" for line in lines), "}"])


def _refuse(node: ast.AST) -> NoReturn:
    raise NotImplementedError(f"jaxconv.explore: no JavaScript for `{ast.unparse(node)}`")


def _name(name: str) -> str:
    return f"{name}_" if name in RESERVED else name


def _assigned(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement and those inside it assign; those of a `for` are its own."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


# ------------------------------------------------------------------------------------------------ statements


def _statement(node: ast.stmt) -> list[str]:
    match node:
        case ast.Assign(targets=[target]):
            return [f"{_target(target)} = {_value(node.value)};"]
        case ast.Return():
            return [f"return {_value(node.value)};" if node.value else "return;"]
        case ast.Expr():
            return [f"{_value(node.value)};"]
        case ast.If():
            return _if(node)
        case ast.For(orelse=[]):
            return [f"for (const {_target(node.target)} of {_value(node.iter)}) {{", *_block(node.body), "}"]
        case ast.Match():
            return _match(node)
    _refuse(node)


def _block(body: list[ast.stmt]) -> list[str]:
    return [f"  {line}" for statement in body for line in _statement(statement)]


def _if(node: ast.If) -> list[str]:
    lines = [f"if ({_value(node.test)}) {{", *_block(node.body)]
    return [*lines, *(["} else {", *_block(node.orelse)] if node.orelse else []), "}"]


def _match(node: ast.Match) -> list[str]:
    """Cases of strings alone, one after the other."""
    subject, lines, word = _value(node.subject), [], "if"
    for case in node.cases:
        choices = case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
        values = [_value(each.value) if isinstance(each, ast.MatchValue) else _refuse(node) for each in choices]
        lines += [f"{word} ([{', '.join(values)}].includes({subject})) {{", *_block(case.body)]
        word = "} else if"
    return [*lines, "}"]


def _target(node: ast.expr) -> str:
    match node:
        case ast.Name():
            return _name(node.id)
        case ast.Tuple():
            return f"[{', '.join(map(_target, node.elts))}]"
    _refuse(node)


# ----------------------------------------------------------------------------------------------- expressions


def _value(node: ast.expr) -> str:
    match node:
        case ast.Name():
            return _name(node.id)
        case ast.Constant():
            return _constant(node)
        case ast.Tuple() | ast.List():
            return f"[{', '.join(map(_value, node.elts))}]"
        case ast.BinOp():
            return _binary(node)
        case ast.UnaryOp(op=ast.USub()):
            return f"-{_value(node.operand)}"
        case ast.UnaryOp(op=ast.Not()):
            return f"!{_value(node.operand)}"
        case ast.BoolOp():
            return f"({(' && ' if isinstance(node.op, ast.And) else ' || ').join(map(_value, node.values))})"
        case ast.Compare():
            return _compare(node)
        case ast.IfExp():
            return f"({_value(node.test)} ? {_value(node.body)} : {_value(node.orelse)})"
        case ast.Call(func=ast.Name()):
            return f"{_value(node.func)}({', '.join(map(_value, _arguments(node)))})"
        case ast.Subscript():
            return f"{_value(node.value)}.at({_value(node.slice)})"
        case ast.Lambda():
            return f"() => {_value(node.body)}"  # its arguments have defaults: names of outside, which it sees anyway
        case ast.JoinedStr():
            return f"`{''.join(map(_piece, node.values))}`"
    _refuse(node)


def _constant(node: ast.Constant) -> str:
    match node.value:
        case bool():
            return str(node.value).lower()
        case int():
            return str(node.value)
        case str():
            return f"`{_raw(node.value)}`"
        case None:
            return "null"
    _refuse(node)


def _raw(text: str) -> str:
    """Text inside the backticks of JavaScript."""
    return text.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${").replace("\n", "\\n")


def _piece(node: ast.expr) -> str:
    """A part of an f-string, shown as Python shows it."""
    match node:
        case ast.Constant(value=str(text)):
            return _raw(text)
        case ast.FormattedValue(format_spec=None):
            return f"${{{'repr' if node.conversion == ord('r') else 'str'}({_value(node.value)})}}"
    _refuse(node)


def _binary(node: ast.BinOp) -> str:
    left, right = _value(node.left), _value(node.right)
    match node.op:
        case ast.FloorDiv():
            return f"Math.floor({left} / {right})"
        case ast.Mod():
            return f"modulo({left}, {right})"
    if type(node.op) not in BINARY:
        _refuse(node)
    return f"({left} {BINARY[type(node.op)]} {right})"


def _compare(node: ast.Compare) -> str:
    terms = [_value(each) for each in (node.left, *node.comparators)]
    if not all(type(op) in COMPARED for op in node.ops):
        _refuse(node)
    pairs = zip(terms, node.ops, terms[1:], strict=False)
    return f"({' && '.join(f'{left} {COMPARED[type(op)]} {right}' for left, op, right in pairs)})"


def _arguments(node: ast.Call) -> list[ast.expr]:
    """Those by place; of keywords `strict` of a zip alone may be left out."""
    if not all(each.arg == "strict" for each in node.keywords):
        _refuse(node)
    return node.args
