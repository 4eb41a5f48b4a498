// Keys press the buttons; the form works without this.
const CHOICES = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 0: "neither" };
let sent = false;
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const button = document.querySelector(`button[value="${CHOICES[event.key]}"]`);
  if (button) {
    event.preventDefault();
    button.click();
  }
});
document.querySelector("form")?.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
});
addEventListener("pageshow", () => {
  sent = false;
});
