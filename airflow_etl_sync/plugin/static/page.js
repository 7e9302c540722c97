// Follows Airflow's light or dark theme, and lets links to Airflow leave the frame, which may not navigate its parent.
"use strict";

const isFramed = window.parent !== window;
const system = window.matchMedia("(prefers-color-scheme: dark)");

function chosenTheme() {
  try {
    if (isFramed) return window.parent.document.documentElement.classList.contains("dark") ? "dark" : "light";
    const chosen = window.localStorage.getItem("theme");
    if (chosen === "dark" || chosen === "light") return chosen;
  } catch {
    // another origin's frame, or storage that is off: the system decides
  }
  return system.matches ? "dark" : "light";
}

function follow() {
  document.documentElement.dataset.theme = chosenTheme();
}

function watchAirflow() {
  try {
    new MutationObserver(follow).observe(window.parent.document.documentElement, { attributeFilter: ["class"] });
  } catch {
    // as above
  }
}

function leaveFrame(event) {
  const link = event.target.closest("a[target=_top]");
  if (!link || !isFramed || new URL(link.href).origin !== window.location.origin) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
}

follow();
system.addEventListener("change", follow);
window.addEventListener("storage", follow);
if (isFramed) watchAirflow();
document.addEventListener("click", leaveFrame);
