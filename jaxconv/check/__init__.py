"""`check_vjp`: is a custom gradient right, and if not, where and in what way?"""

from jaxconv.check.core import check_vjp as check_vjp
from jaxconv.check.faces.report import TransformRow as TransformRow
from jaxconv.check.faces.report import VjpReport as VjpReport
from jaxconv.check.faces.report import VjpRow as VjpRow
