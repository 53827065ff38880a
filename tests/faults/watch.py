"""Cause a fault under load, and report what clients got, what was lost, and when everything recovered."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise

from tests.apikeys.gateway.load import Clients, as_client
from tests.apikeys.gateway.servers import call
from tests.faults.forms import FormUser
from tests.faults.rows import BUDGET
from tests.waiting import wait_until

# Seconds within which the service has to recover after the fault has ended.
RECOVERS_WITHIN = 5
# Allowed statuses of a page that saves.
PAGE_STATUSES = {"302", "503"}


class Load:
    """Clients with valid keys, with invalid ones and with two limited ones, and a user who submits a form."""

    def __init__(self, site):
        self.site = site
        self.keys = {"lasting": site.keys["lasting"].pop(), "short": site.keys["short"].pop()}
        bad = site.keys["bad"]
        self.good = Clients(site.port, site.keys["good"], threads=6, asking=[as_client])
        self.bad = Clients(site.port, bad, threads=len(bad), asking=[as_client], pause=0.05)
        self.limited = {
            name: Clients(site.port, [key], threads=2, asking=[as_client], pause=0.05)
            for name, key in self.keys.items()
        }

        self.form = FormUser(site.nodes[-1].port, site.keys["session"])

    @property
    def all(self):
        return [self.good, self.bad, *self.limited.values()]

    def allowed_by(self, name):
        """How many requests the limit has allowed, after using up the rest of it."""
        answers = [answer.status for answer in self.limited[name].answers]
        while len(answers) < 10_000 and answers[-1] != 429:
            answers.append(call(self.site.port, path="/orders", headers={"X-API-Key": self.keys[name]}).status)
        return answers.count(200)

    def acknowledged(self):
        clients = [self.good, *self.limited.values()]
        return {uuid.UUID(answer.event) for each in clients for answer in each.answers if answer.status == 200}


def watch(site, fault, *, before=1.0, after=1.5):
    """Return the report. before, after: seconds of load around the fault."""
    logged = site.logs()
    load = Load(site)
    with ExitStack() as stack:
        for clients in [*load.all, load.form]:
            stack.enter_context(clients)
        load.good.wait_for(20)
        time.sleep(before)
        begin = time.monotonic()
        with fault.cause(site):
            end = time.monotonic()
            back = wait_until(
                lambda: first_good(load.good, end), what=lambda: f"{fault.name}: the service doesn't recover."
            )
            wait_until(lambda: all(node.counts for node in site.nodes))
            counts = time.monotonic()
            time.sleep(after)
    logs = [log.removeprefix(before) for log, before in zip(site.logs(), logged, strict=True)]
    return report(load, begin, end) | {
        "fault": fault.name,
        "place": fault.place.name,
        "seconds": round(end - begin, 1),
        "back after": round(back - end, 2),
        "limits back after": round(counts - end, 1),
        "outages of the limiter": sum(log.count(") is unavailable: ") for log in logs),
        "shown": any(re.search(fault.shown, log) for log in logs),
    }


def first_good(clients, since):
    """When the first successful response arrived to a request sent since then, or None."""
    return min(
        (answer.at + answer.took for answer in list(clients.answers) if answer.status == 200 and answer.at >= since),
        default=None,
    )


def report(load, begin, end):
    answers = load.good.answers
    good = sorted(answer.at + answer.took for answer in answers if answer.status == 200)
    failed = Counter(
        str(answer.status)
        for each in (load.good, *load.limited.values())
        for answer in each.answers
        if answer.status not in {200, 429}
    )
    broken = sum(len(each.errors) for each in load.all)
    acknowledged = load.acknowledged()
    return {
        "answers": sum(len(each.answers) for each in load.all),
        "failed": dict(sorted(failed.items())) | ({"connection": broken} if broken else {}),
        "longest gap": round(max(later - earlier for earlier, later in pairwise(good)), 2),
        "longest answer": round(max(answer.took for answer in answers), 2),
        "last failure after": round(
            max((answer.at + answer.took - end for answer in answers if answer.status != 200), default=0), 2
        ),
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - load.site.recorded()),
        "bad answers": dict(sorted(Counter(str(answer.status) for answer in load.bad.answers).items())),
        "bad allowed": sum(answer.status < 300 for answer in load.bad.answers),
        "pages": dict(sorted(Counter(map(str, load.form.statuses)).items())),
        "input lost": load.form.lost,
        "over lasting": max(0, load.allowed_by("lasting") - BUDGET),
        "over short": max(0, load.allowed_by("short") - BUDGET),
    }


def problems(result, fault):
    """Violations of the promises in docs/reliability.md."""
    wrong = {
        "acknowledged decisions are lost": result["lost"],
        "a bad key was allowed": result["bad allowed"],
        "a page failed": result["pages"].keys() - PAGE_STATUSES,
        "a page lost its input": result["input lost"],
        "a lasting budget was overshot": result["over lasting"],
        # On a busy machine, even a healthy store can exceed its timeout.
        "a short budget was overshot": result["over short"]
        and fault.short_windows
        and not result["outages of the limiter"],
        "it recovered late": result["back after"] > RECOVERS_WITHIN or result["last failure after"] > RECOVERS_WITHIN,
        "the log doesn't show it": not result["shown"],
        "too few answers": result["acknowledged"] < 100,
    }
    return [words for words, is_wrong in wrong.items() if is_wrong]
