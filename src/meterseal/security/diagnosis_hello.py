"""The keys doctor on a handshake message: under which key, of which version, module and project, its mac holds.

It gives out no key; `hypotheses` makes and tries the guesses.
"""

from __future__ import annotations

from meterseal.link import messages
from meterseal.link.messages import Hello
from meterseal.security.chart import Chart
from meterseal.security.examining import Examiner
from meterseal.security.hypotheses import Guess, Keys, Trial, guesses, orders, projects_near, try_hello
from meterseal.security.registry import Module
from meterseal.security.symptoms import Diagnosis, Symptom


class HelloDoctor:
    """Looks at handshake messages."""

    def __init__(self, examiner: Examiner) -> None:
        self._with = examiner

    def look(self, message: bytes, symptom: Symptom, chart: Chart, now: int) -> Diagnosis:
        """The diagnosis of a HELLO; of any other handshake message that it cannot be tried."""
        kind = messages.kind_of(message)
        if kind != messages.HELLO:
            return chart.closed(
                messages.KINDS[kind],
                "Only a HELLO can be tried against keys afterwards; record the meter's next HELLO and show that.",
            )
        hello = messages.parse_hello(message)
        own = self._with.registry.of_device(symptom.meter)
        claimed = self._with.registry.module(hello.module_id)
        self._with.keys.use("PROJECT", 1)
        self._claims(hello, symptom.meter, own, claimed, chart)
        trial = self._tried(hello, symptom, own, claimed)
        if trial.guess is not None:
            self._held(hello, trial, symptom, chart)
        elif trial.factory:
            chart.wrong(
                "key version",
                f"The module still has its factory key ({trial.factory}): it was never personalised.",
                f"version {hello.key_version}",
                "factory key",
            )
        else:
            chart.wrong(
                "project",
                f"Its key is from none of {trial.tried} guesses: it was made under another root, or bytes of the "
                "message changed on the way.",
                self._with.project_id.hex(),
                "no project that was tried",
            )
            for level in trial.untried:
                chart.unchecked(
                    "region", f"Keys above {level} are not at hand here, so other regions were not tried."
                )
        chart.unchecked("counter", "A HELLO has no counter.")
        module = claimed or own
        self._suite(hello, module, chart)
        self._with.certificate(module, chart, now)
        return chart.diagnosis("HELLO")

    def _claims(
        self, hello: Hello, meter: bytes, own: Module | None, claimed: Module | None, chart: Chart
    ) -> None:
        chart.address(hello.device_id, self._with.known(hello.device_id))
        if claimed is None:
            said = "No such module is enrolled."
            if own is not None:
                said = f"The module that it names is not enrolled; this meter's is {own.module_id.hex()}."
            turned = self._with.registry.module(hello.module_id[::-1])
            if turned is not None:
                said = "The module's serial stands turned round, low byte first."
            chart.wrong(
                "module", said, own.module_id.hex() if own else "an enrolled module", hello.module_id.hex()
            )
        elif claimed.device_id != meter:
            chart.wrong(
                "module",
                f"The module belongs to device {claimed.device_id.hex()}: it was moved or copied.",
                own.module_id.hex() if own else "none",
                hello.module_id.hex(),
            )
        elif claimed.state != "active":
            said = "The module was withdrawn" + (f"; {own.module_id.hex()} took its place." if own else ".")
            chart.wrong("module", said, own.module_id.hex() if own else "a new module", hello.module_id.hex())
        else:
            chart.good("module", f"{hello.module_id.hex()} is enrolled in this meter and in service.")

    def _tried(self, hello: Hello, symptom: Symptom, own: Module | None, claimed: Module | None) -> Trial:
        expected = Guess(hello.device_id, hello.module_id, hello.key_version, self._with.project_id)
        here = [module for module in (own, claimed) if module is not None]
        versions = {facts.version for facts in self._with.keys.all_facts() if facts.id == "DIAK"}
        near = {v + step for v in (hello.key_version, *(m.key_version for m in here)) for step in (-1, 0, 1)}
        others = [m.module_id for m in self._with.registry.all_of(symptom.meter)[:4]]
        devices = [symptom.meter, *(m.device_id for m in here), *orders(hello.device_id).values()]
        modules = [*(m.module_id for m in here), *others, hello.module_id[::-1]]
        projects = [*symptom.projects, *projects_near(self._with.project_id).values()]
        order = guesses(
            expected,
            devices=devices,
            modules=modules,
            versions=sorted(versions | near, reverse=True)[:8],
            projects=projects,
        )
        return try_hello(hello, Keys(self._with.keys, self._with.project_id), order)

    def _held(self, hello: Hello, trial: Trial, symptom: Symptom, chart: Chart) -> None:
        """The mac holds under a guess: what of it was not expected is what is wrong."""
        guess, check = trial.guess, f"check value {trial.check_value.hex()}"
        assert guess is not None
        if guess.device_id != hello.device_id:
            names = {value: name for name, value in orders(hello.device_id).items()}
            how = names.get(guess.device_id, "another meter's")
            chart.wrong(
                "address",
                f"The key was made for another address than the HELLO names ({how}).",
                hello.device_id.hex(),
                guess.device_id.hex(),
            )
        if guess.module_id != hello.module_id:
            chart.wrong(
                "module",
                "The key was made for another module than the HELLO names.",
                hello.module_id.hex(),
                guess.module_id.hex(),
            )
        self._version(hello, guess, check, chart)
        near = {value: name for name, value in projects_near(self._with.project_id).items()}
        said = near.get(guess.project_id, "another project that was given to try")
        if guess.project_id[:8] == self._with.project_id[:8]:
            chart.good("region", f"Its key is of region {self._with.project_id[:8].hex()}.")
        else:
            chart.wrong(
                "region",
                f"Its key is of another region: {said}.",
                self._with.project_id[:8].hex(),
                guess.project_id[:8].hex(),
            )
        if guess.project_id[8:] == self._with.project_id[8:]:
            chart.good("project", f"Its key is of project {self._with.project_id[8:].hex()}.")
        else:
            chart.wrong(
                "project",
                f"Its key is of another project: {said}.",
                self._with.project_id[8:].hex(),
                guess.project_id[8:].hex(),
            )

    def _version(self, hello: Hello, guess: Guess, check: str, chart: Chart) -> None:
        module = self._with.registry.module(hello.module_id)
        if guess.version != hello.key_version:
            chart.wrong(
                "key version",
                "It names one key version and uses another.",
                f"version {hello.key_version}",
                f"version {guess.version}, {check}",
            )
        elif module is not None and not self._with.keylife.accepts(module, hello.key_version):
            chart.wrong(
                "key version",
                "The module uses a key version that is not accepted from it (any more).",
                f"version {module.key_version}",
                f"version {hello.key_version}, {check}",
            )
        else:
            chart.good("key version", f"Version {guess.version}, {check}.")

    def _suite(self, hello: Hello, module: Module | None, chart: Chart) -> None:
        if module is None:
            chart.unchecked("profile", "No module is enrolled whose suite and profile could be compared.")
        elif hello.suite != module.suite:
            chart.wrong(
                "profile",
                "It asks for another suite than it was enrolled with.",
                f"suite {module.suite}",
                f"suite {hello.suite}",
            )
        else:
            chart.good("profile", f"Suite {module.suite}, profile {module.profile}, policy {module.policy}.")
