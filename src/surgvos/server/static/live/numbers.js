// How the run is doing, asked once a second.
const PAUSE_MS = 1000;

export function showNumbers(list, state, source) {
  async function ask() {
    try {
      show(await (await fetch("status", { cache: "no-store" })).json());
    } catch {
      state.dataset.state = "lost";
      state.textContent = "no connection";
    }
    setTimeout(ask, PAUSE_MS);
  }

  function show(status) {
    source.textContent = status.source;
    state.dataset.state = status.failure ? "failed" : status.state;
    state.textContent = status.failure ? `segmenting failed: ${status.failure}` : status.state;
    const rows = {
      "picture, per second": number(status.picture_fps, 1),
      "fewest in any second": number(status.picture_fps_lowest, 0),
      "picture to picture p99": `${number(status.picture_gap.p99_ms, 0)} ms`,
      "mask latency p50 / p95": `${number(status.latency.p50_ms, 0)} / ${number(status.latency.p95_ms, 0)} ms`,
      "mask age p50 / p95": `${number(status.mask_age.p50_ms, 0)} / ${number(status.mask_age.p95_ms, 0)} ms`,
      "frames segmented": `${status.num_segmented} of ${status.num_received}`,
      "frames dropped": status.num_dropped,
      "pictures skipped": status.num_skipped,
      "source lost": `${status.num_losses} times`,
      memory: `${number(status.memory_mb, 0)} MB`,
    };
    list.replaceChildren(
      ...Object.entries(rows).flatMap(([name, value]) => {
        const [term, description] = [document.createElement("dt"), document.createElement("dd")];
        term.textContent = name;
        description.textContent = value;
        return [term, description];
      }),
    );
  }

  ask();
}

function number(value, digits) {
  return value === null ? "–" : value.toFixed(digits);
}
