"""Read /metrics like Prometheus."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def samples(text):
    """{(name, label values sorted by label): value}."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(client):
    response = client.get("/metrics")
    assert response.status_code == 200
    return samples(response.content.decode())


class Increase:
    """How much a counter increased since this was created, because a process's counters aren't reset between tests."""

    def __init__(self, client):
        self._client, self._before = client, scrape(client)

    def __call__(self, *sample):
        return scrape(self._client).get(sample, 0) - self._before.get(sample, 0)
