
// Frames by number: their times where they are known, else as even as the browser can tell.
function framesOf(known, seconds) {
  const times = known.times;
  const step = known.step || 1 / 25;
  const count = times ? times.length : known.count || Math.max(1, Math.round(seconds / step));
  const start = (frame) => (times ? (frame < count ? times[frame] : known.end) : frame * step);
  const at = (time) => {
    if (!times) return Math.min(count - 1, Math.max(0, Math.floor(time / step + 1e-3)));
    let low = 0;
    for (let high = count; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if (times[middle] <= time + 1e-4) low = middle;
      else high = middle;
    }
    return low;
  };
  return { count, at, start, end: start(count), middle: (frame) => (start(frame) + start(frame + 1)) / 2 };
}

function clockOf(time) {
  const hundredths = Math.round(time * 100);
  const seconds = String(((hundredths % 6000) / 100).toFixed(2)).padStart(5, "0");
  const minutes = Math.floor(hundredths / 6000);
  return minutes < 60 ? `${minutes}:${seconds}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${seconds}`;
}

// Lines of measures share one place in time: under the pointer, else where the player stands.
function openPlots(clip, seek) {
  const plots = [...clip.querySelectorAll(".plot")].map((plot) => {
    const svg = plot.querySelector("svg");
    return { svg, values: JSON.parse(svg.dataset.values), head: svg.querySelector(".head"), reading: plot.querySelector(".reading") };
  });
  let stands = 0;
  const show = (share) => {
    for (const { svg, values, head, reading } of plots) {
      const found = values.findLast((pair) => pair[0] <= share + 1e-6) || values[0];
      const x = share * svg.viewBox.baseVal.width;
      head.setAttribute("x1", x);
      head.setAttribute("x2", x);
      head.setAttribute("visibility", "visible");
      reading.textContent = found[1].toFixed(1);
    }
  };
  for (const { svg } of plots) {
    const share = (event) => {
      const edges = svg.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - edges.left) / edges.width));
    };
    svg.addEventListener("pointermove", (event) => show(share(event)));
    svg.addEventListener("pointerleave", () => show(stands));
    svg.addEventListener("click", (event) => seek(share(event)));
  }
  return (share) => { stands = share; show(share); };
}

function openPlayer(clip) {
  const player = clip.querySelector(".player");
  let seek = () => {};
  const mark = openPlots(clip, (share) => seek(share));
  if (!player) return;
  const box = player.querySelector(".compare, .single");
  const [play, back, on, scrub, clock] = [".play", ".back", ".on", ".scrub", ".clock"].map((name) => player.querySelector(name));
  const videos = [...player.querySelectorAll("video")];
  const known = JSON.parse(player.dataset.steps);
  const playable = () => videos.filter((video) => !video.error);
  const main = () => playable().at(-1); // the delivered clip, as long as the browser can play it
  let frames = framesOf(known, 0);

  // Boxes between upright and very wide: others would not fit a screen.
  const ratio = player.dataset.width / player.dataset.height || 16 / 9;
  box.style.setProperty("--ratio", Math.min(3, Math.max(1, ratio)));

  const show = (frame) => {
    scrub.value = frame;
    const time = frames.start(frame);
    scrub.setAttribute("aria-valuetext", `frame ${frame + 1} of ${frames.count}, ${clockOf(time)}`);
    clock.textContent = `${clockOf(time)} / ${clockOf(frames.end)}`;
    mark(time / frames.end);
  };
  const halt = () => {
    for (const video of videos) video.pause();
    player.classList.remove("playing");
    play.setAttribute("aria-label", "Play");
  };
  const go = (frame) => {
    halt();
    const bounded = Math.min(frames.count - 1, Math.max(0, frame));
    for (const video of playable()) video.currentTime = frames.middle(bounded);
    show(bounded);
  };
  const follow = () => {
    if (!player.classList.contains("playing")) return;
    const lead = main();
    for (const video of playable()) {
      if (video !== lead && Math.abs(video.currentTime - lead.currentTime) > 0.08) video.currentTime = lead.currentTime;
    }
    show(frames.at(lead.currentTime));
    if (lead.ended) halt();
    else requestAnimationFrame(follow);
  };
  const start = async () => {
    const lead = main();
    if (!lead) return;
    if (lead.ended || +scrub.value === frames.count - 1) go(0);
    player.classList.add("playing");
    play.setAttribute("aria-label", "Pause");
    await Promise.allSettled(playable().map((video) => video.play()));
    follow();
  };
  const measure = () => {
    frames = framesOf(known, (main() || {}).duration || 0);
    scrub.max = frames.count - 1;
    show(+scrub.value);
  };
  seek = (share) => go(frames.at(share * frames.end));
  play.addEventListener("click", () => (player.classList.contains("playing") ? halt() : start()));
  back.addEventListener("click", () => go(+scrub.value - 1));
  on.addEventListener("click", () => go(+scrub.value + 1));
  scrub.addEventListener("input", () => go(+scrub.value));
  for (const video of videos) {
    const refused = () => { video.closest(".side").querySelector(".cannot").hidden = false; };
    video.addEventListener("loadedmetadata", measure);
    video.addEventListener("error", refused);
    if (video.error) refused();
  }
  player.querySelector(".controls").hidden = false;
  measure();
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".clip").forEach(openPlayer));
