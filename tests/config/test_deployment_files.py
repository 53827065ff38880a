"""The files in docs/deploy are valid and consistent with the code and each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands
from gunicorn.config import Backlog

from config import gunicorn
from tests.services import require

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
SOCKET = DEPLOY / "gatehouse.socket"
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
EXAMPLE = set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

each_manifest = pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}"
)
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)


def manifests_of_kind(name):
    return [manifest for manifest in MANIFESTS if manifest["kind"] == name]


PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in manifests_of_kind("Deployment") + manifests_of_kind("Job")
}
each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


@pytest.fixture
def check():
    """check(manifest, version) validates against the schema of that version, by default the newest."""
    import kubernetes_validate  # slow

    def check(manifest, version=None):
        kubernetes_validate.validate(manifest, version or kubernetes_validate.latest_version(), strict=True)

    check.error = kubernetes_validate.ValidationError
    return check


# Deprecated resources are missing from the newest schema.
@pytest.mark.parametrize("version", ["1.28", None], ids=["oldest", "newest"])
@each_manifest
def test_each_resource_matches_the_kubernetes_schema(check, manifest, version):
    check(manifest, version)


def test_the_schema_check_finds_a_mistake(check):
    wrong = {**manifests_of_kind("PodDisruptionBudget")[0], "spec": {"minAvailabel": 2}}
    with pytest.raises(check.error):
        check(wrong)


def test_probes_and_disruption_budget_match_the_deployment(client, db):
    (server,) = PODS["gatehouse"]["containers"]
    assert server["livenessProbe"]["httpGet"]["path"] == server["startupProbe"]["httpGet"]["path"] == "/livez"
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {client.get(path).status_code for path in ("/livez", "/readyz")} == {200}
    (deployment,) = [each for each in manifests_of_kind("Deployment") if each["metadata"]["name"] == "gatehouse"]
    (budget,) = manifests_of_kind("PodDisruptionBudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests_of_kind("Service")[0]["spec"]["selector"] == labels
    assert 0 < budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]


def test_an_unready_pod_gets_no_requests_long_before_it_is_restarted():
    (server,) = PODS["gatehouse"]["containers"]
    unready, restarted, started = (
        server[name]["periodSeconds"] * server[name]["failureThreshold"]
        for name in ("readinessProbe", "livenessProbe", "startupProbe")
    )
    assert unready * 2 <= restarted < started


def test_an_upgrade_keeps_all_pods_available():
    (deployment,) = [each for each in manifests_of_kind("Deployment") if each["metadata"]["name"] == "gatehouse"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_pod_has_time_to_drain_and_to_finish_requests():
    settings = manifests_of_kind("ConfigMap")[0]["data"]
    drain = int(settings["DRAIN_SECONDS"])
    probe = PODS["gatehouse"]["containers"][0]["readinessProbe"]
    assert drain >= probe["periodSeconds"] * probe["failureThreshold"]
    assert PODS["gatehouse"]["terminationGracePeriodSeconds"] >= drain + gunicorn.graceful_timeout + 5


@each_pod
def test_pods_run_with_minimal_privileges(pod):
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert str(pod["securityContext"]["runAsUser"]) in (ROOT / "Dockerfile").read_text()
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_pod
def test_all_pods_have_the_same_settings_and_volumes(pod):
    for container in pod["containers"]:
        assert container["envFrom"] == PODS["gatehouse"]["containers"][0]["envFrom"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_settings_exist_and_secrets_are_placeholders():
    secrets = manifests_of_kind("Secret")[0]["stringData"]
    assert {*secrets, *manifests_of_kind("ConfigMap")[0]["data"]} <= EXAMPLE
    assert all("change-me" in value for name, value in secrets.items() if name != "REDIS_URL")


def test_commands_in_units_and_pods_exist():
    text = "".join(path.read_text() for path in [*UNITS, DEPLOY / "kubernetes.yaml"])
    commands = set(re.findall(r"manage\.py(?:\",)? \"?([a-z_]+)", text))
    assert {"migrate", "bootstrap", "run_jobs", "collectstatic"} == commands <= set(get_commands())


@pytest.mark.parametrize("unit", [*UNITS, SOCKET], ids=lambda path: path.name)
def test_each_unit_passes_systemd_analyze(unit, tmp_path):
    analyze = shutil.which("systemd-analyze")
    require(analyze, "Install systemd (Debian: apt-get install systemd).")
    for path in (*UNITS, SOCKET):
        # The check looks for programs and users on this machine.
        text = re.sub(r"/opt/gatehouse/\S+", "/bin/true", path.read_text())
        (tmp_path / path.name).write_text(re.sub(r"(User|Group)=gatehouse", r"\1=root", text))
    done = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def test_the_socket_unit_has_the_address_and_backlog_of_the_server():
    text = SOCKET.read_text()
    (bind,) = re.findall(r" BIND=(\S+)$", (DEPLOY / "gatehouse.service").read_text(), re.MULTILINE)
    assert f"\nListenStream={bind}\n" in text
    assert f"\nBacklog={Backlog.default}\n" in text


@each_unit
def test_each_unit_is_hardened(unit):
    directives = set(unit.read_text().splitlines())
    assert directives >= {
        "User=gatehouse",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "RestrictNamespaces=yes",
        "SystemCallFilter=@system-service",
        "UMask=0077",
    }


def test_compose_runs_decisions_and_pages_as_two_services_of_one_image():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    app, gate = services["app"], services["gate"]
    differing = {name for name, value in gate["environment"].items() if app["environment"][name] != value}
    assert differing == {"WEB_CONCURRENCY", "WEB_THREADS"}
    assert {**gate, "environment": None, "cpu_shares": None} == {**app, "environment": None, "cpu_shares": None}
    assert gate["cpu_shares"] > app["cpu_shares"]
    # Both run the image's own command. The proxy only knows the pages' service.
    assert "command" not in gate
    assert 'CMD ["gunicorn", "-c", "python:config.gunicorn", "config.asgi"]' in (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"proxy_pass http://(\w+):", (DEPLOY / "nginx.conf").read_text())) == {"app"}


def test_systemd_allows_long_migrations():
    (hours,) = re.findall(r"^TimeoutStartSec=(\d+)h$", (DEPLOY / "gatehouse.service").read_text(), re.MULTILINE)
    assert int(hours) >= 1


def test_systemd_waits_for_requests_in_progress():
    text = (DEPLOY / "gatehouse.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(seconds) > gunicorn.drain_seconds + gunicorn.graceful_timeout
    assert "KillMode=mixed" in text


@each_unit
def test_systemd_always_restarts_each_service(unit):
    assert {"Restart=always", "StartLimitIntervalSec=0"} <= set(unit.read_text().splitlines())


def test_docker_restarts_every_service_but_migrations():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert {name: each.get("restart") for name, each in services.items()} == dict.fromkeys(
        services, "unless-stopped"
    ) | {"migrate": None}
    # gunicorn is process 1, without a shell around it.
    assert '\nCMD ["gunicorn", ' in (ROOT / "Dockerfile").read_text()


def test_kubernetes_restarts_pods():
    assert {name: pod.get("restartPolicy", "Always") for name, pod in PODS.items()} == {
        "gatehouse": "Always",
        "gatehouse-jobs": "Always",
        "gatehouse-migrate": "OnFailure",
    }
