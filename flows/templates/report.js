"use strict";
document.documentElement.classList.add("js");

// The range input carries keyboard and assistive technology; the pointer is followed on the whole picture, because
// a native thumb stops half its own width before the edges.
function openComparison(box) {
  const wipe = box.querySelector(".wipe");
  const show = () => {
    box.style.setProperty("--wipe", wipe.value + "%");
    wipe.setAttribute("aria-valuetext", `${wipe.value} % before, ${100 - wipe.value} % after`);
  };
  const follow = (event) => {
    const edges = box.getBoundingClientRect();
    wipe.value = Math.round((100 * (event.clientX - edges.left)) / edges.width);
    show();
  };
  let atTouch = wipe.value;
  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    box.setPointerCapture(event.pointerId);
    box.classList.add("held");
    wipe.focus({ preventScroll: true });
    atTouch = wipe.value;
    if (event.pointerType === "touch") return; // it may be the start of a scroll
    follow(event);
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => {
    if (box.classList.contains("held")) follow(event);
  });
  box.addEventListener("pointerup", (event) => {
    if (box.classList.contains("held")) follow(event);
  });
  // The browser takes the pointer away when the finger scrolls the page: that was not meant for the picture.
  box.addEventListener("pointercancel", () => {
    wipe.value = atTouch;
    show();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    box.addEventListener(end, () => box.classList.remove("held"));
  }
  wipe.addEventListener("input", show);
  wipe.hidden = false;
  show();
}

function say(words) {
  document.getElementById("said").textContent = words;
}

// Pages opened from disk have no clipboard in some browsers; there the old command still copies a selection.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

function openCopying(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const done = await copied(button.dataset.copy);
    button.focus({ preventScroll: true });
    button.textContent = done ? "Copied" : "Failed";
    const what = button.dataset.what || "The SHA-256";
    say(done ? `${what} was copied.` : `${what} could not be copied.`);
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}

// A collapsed picture that is jumped to opens.
function openTarget() {
  if (!/^#item-\d+$/.test(location.hash)) return;
  const item = document.getElementById(location.hash.slice(1));
  if (!item) return;
  item.querySelector("details").open = true;
  item.scrollIntoView();
}

function openFilter() {
  const find = document.getElementById("find");
  if (!find) return;
  const troubled = document.getElementById("troubled");
  const rows = [...document.querySelectorAll(".index li")].map((row) => ({
    row,
    item: document.querySelector(row.firstElementChild.getAttribute("href")),
    name: row.querySelector("bdi").textContent.toLocaleLowerCase(),
    troubled: row.firstElementChild.hasAttribute("data-troubled"),
  }));
  const sift = () => {
    const wanted = find.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const entry of rows) {
      const hit = entry.name.includes(wanted) && (entry.troubled || !troubled.checked);
      entry.row.hidden = entry.item.hidden = !hit;
      shown += hit;
    }
    say(`${shown} of ${rows.length} pictures shown`);
  };
  find.addEventListener("input", sift);
  troubled.addEventListener("change", sift);
  find.closest(".filter").hidden = false;
}

// Paper cannot be unfolded, and shows pictures that nobody has scrolled to.
function printEverything() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    for (const picture of document.images) picture.loading = "eager";
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".compare").forEach(openComparison);
  document.querySelectorAll(".copy").forEach(openCopying);
  openFilter();
  printEverything();
  addEventListener("hashchange", openTarget);
  openTarget();
});
