"""`check_vjp`: is a custom gradient right, and if not, where and in what way?

Read `core` first, the outline of a check, then `call` (what is checked), `ground_truth` (what is right) and `compare`
(how far is too far); README.md beside this file names the others. `faces` is what comes out.
"""

from jaxconv.check.core import check_vjp as check_vjp
from jaxconv.check.faces.report import TransformRow as TransformRow
from jaxconv.check.faces.report import VjpReport as VjpReport
from jaxconv.check.faces.report import VjpRow as VjpRow
from jaxconv.check.rules import custom_rules as custom_rules
