"""lambda of Eq. 7, by source and budget; 1 / lambda is the attack step a of Eq. 8."""

import math

from fastbat.errors import InputError, choose

STEPS = {2: 3000, 8: 5000, 16: 2500}  # 255 a by 255 eps, of the paper


def resolve_lambda(eps: float, lam: float | str | None) -> float:
    """Return lambda for the budget `eps` on the [0, 1] scale: `lam` itself, or that of the source which it names.

    "paper" (also None): a = 3000/255 at eps 2/255 (ImageNet, App. C.1), 5000/255 at 8/255 and 2500/255 at 16/255
    (Sec. 5.1); between them linear in log eps and log a, beyond them constant (the paper states no rule for other eps).
    "released": a = 5000/255 up to 8/255, 2000/255 above. Raises InputError for another source, or a number not above 0.
    """
    if not isinstance(lam, str | None):
        if not 0 < lam < math.inf:
            raise InputError(f"lam is {lam:g}; lambda must be above 0: 255/5000 = 0.051 is the paper's at eps 8/255")
        return lam
    if lam is not None and choose("lam", lam, ("paper", "released")) == "released":
        return 255 / (5000 if eps <= 8 / 255 + 1e-9 else 2000)
    at = min(max(255 * eps, 2), 16)
    low, high = (2, 8) if at <= 8 else (8, 16)
    share = math.log(at / low) / math.log(high / low)
    return 255 / round(math.pow(STEPS[low], 1 - share) * math.pow(STEPS[high], share), 9)
