"""Cron schedules of job services: when the next run begins, what is missed, what overlaps.

The expression's own arithmetic is the library's (``cronsim``: Debian cron's rules, in UTC); pure.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from swarmops.errors import InputError

_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = 5
_LENGTH_MAX = 1000
"""More than the longest that makes sense, with each minute, hour, day, month and weekday named."""
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


class Schedule:
    """A cron expression of five fields, or a name such as ``@daily``. Raises InputError."""

    def __init__(self, expression: str) -> None:
        self._expression = _NAMES.get(expression.strip().lower(), expression.strip())
        if len(self._expression) > _LENGTH_MAX:  # it is read anew each time it is asked
            raise InputError(f"at most {_LENGTH_MAX} characters are needed")
        if len(self._expression.split()) != _FIELDS:
            raise InputError("five fields are needed: minute, hour, day, month, weekday")
        try:
            next(CronSim(self._expression, _EPOCH))
        except (CronSimError, StopIteration) as error:
            raise InputError(str(error) or "it never comes") from error

    def after(self, moment: datetime) -> datetime:
        """Return the first time after ``moment``."""
        return next(CronSim(self._expression, moment.astimezone(UTC)))

    def latest(self, moment: datetime) -> datetime:
        """Return the last time that is not after ``moment``."""
        moment = moment.astimezone(UTC)
        if self.is_due(moment):
            return moment
        return next(CronSim(self._expression, moment, reverse=True))

    def is_due(self, moment: datetime) -> bool:
        """Whether ``moment`` is one of its times, to the microsecond."""
        if moment.second or moment.microsecond:
            return False
        before = moment.astimezone(UTC).replace(second=0).timestamp() - 1
        return self.after(datetime.fromtimestamp(before, UTC)) == moment
