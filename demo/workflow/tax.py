"""Issue tax certificates on the revenue service's portal: one log-in, then one certificate per task."""

from regente import business_error, log, objects, secrets
from robot import browser, screen

PORTAL = "https://127.0.0.1:8443"


def setup(group: dict[str, str]) -> None:
    browser.open(PORTAL + "/login", certificate=secrets.get(group["certificate"]))
    browser.click(objects.enter)
    browser.wait(objects.registration)


def execute(task: dict[str, str]) -> dict[str, str]:
    # Every task starts at the search page, wherever the one before it ended.
    browser.open(PORTAL + "/search")
    browser.fill(objects.registration, task["registration"])
    browser.click(objects.search)
    browser.wait(objects.answer)
    if browser.exists(objects.unknown, timeout=0.2):
        screen.evidence("registration unknown")
        business_error("registration unknown to the portal")

    browser.click(objects.open_record)
    taxpayer = browser.text(objects.taxpayer)
    browser.select(objects.kind, task["kind"])
    browser.fill(objects.period, task["period"])
    browser.fill(objects.reference, task.get("reference", ""))
    browser.wait(objects.issue, timeout=15)
    screen.evidence("before issuing")

    browser.click(objects.issue, commit=True)
    protocol = browser.text(objects.protocol, timeout=30)
    screen.evidence("certificate issued")
    receipt = browser.download(objects.receipt, name="receipt-" + protocol + ".pdf")
    log.info("issued " + protocol + " for " + taxpayer)
    return {"protocol": protocol, "taxpayer": taxpayer, "receipt": receipt["sha256"]}


def teardown(group: dict[str, str]) -> None:
    browser.close()
