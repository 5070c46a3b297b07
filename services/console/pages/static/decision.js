// Comfort only: the page works without. Times in the reader's own zone, and one press of a button is one answer.
for (const one of document.querySelectorAll("time[datetime]")) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, {dateStyle: "medium", timeStyle: "short"});
  one.textContent = format.format(new Date(one.dateTime));
}
for (const form of document.forms) {
  form.addEventListener("submit", () => {
    form.setAttribute("aria-busy", "true");
    setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; }), 0);
  });
}
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
