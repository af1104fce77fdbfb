// One table of keys: what is pressed, what it does, and what the help says of it.

export const KEYS = [
  ["ArrowLeft", "previous", "←", "frame before (Shift: 10)"],
  ["ArrowRight", "next", "→", "next frame (Shift: 10)"],
  ["Home", "first", "Home", "first frame"],
  ["End", "last", "End", "last frame"],
  [" ", "play", "Space", "play, pause"],
  ["c", "click", "C", "click on the object"],
  ["x", "beside", "X", "click beside it (or right button)"],
  ["b", "box", "B", "box"],
  ["p", "brush", "P", "brush"],
  ["e", "eraser", "E", "eraser"],
  ["h", "pan", "H", "move the picture"],
  ["[", "thinner", "[", "thinner brush"],
  ["]", "thicker", "]", "thicker brush"],
  ["k", "crosshair", "K", "point with arrows and Enter"],
  ["t", "track", "T", "track forward"],
  ["T", "track-backward", "Shift T", "track backward"],
  ["Escape", "stop", "Esc", "stop tracking, cancel"],
  ["l", "lock", "L", "lock, unlock the frame"],
  ["0", "absent", "0", "not visible here"],
  ["d", "doubt", "D", "next doubtful frame"],
  ["D", "doubt-backward", "Shift D", "doubtful frame before"],
  ["q", "before", "Q", "before the last change"],
  ["m", "masks", "M", "show, hide masks"],
  ["s", "suggest", "S", "suggest (with an overseer)"],
  ["n", "new", "N", "new object"],
  ["f", "fit", "F", "whole frame"],
  ["+", "zoom-in", "+", "larger"],
  ["-", "zoom-out", "-", "smaller"],
  ["?", "help", "?", "this help"],
];

const EXTRA = [
  ["1 … 9", "choose an object"],
  ["Ctrl Z", "undo"],
  ["Ctrl Shift Z", "redo"],
];

/** Call `act` with the action of every key that is pressed outside of text fields. */
export function listen(act) {
  const actions = new Map(KEYS.map(([key, action]) => [key, action]));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && ["z", "Z", "y"].includes(event.key)) {
      if (isText(event.target)) return;
      event.preventDefault();
      act(event.key === "z" && !event.shiftKey ? "undo" : "redo", event);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isText(event.target)) return;
    const isButton = event.target.matches("button, input, select") && [" ", "Enter"].includes(event.key);
    const action = /^[1-9]$/.test(event.key) ? `object-${event.key}` : event.key === "Enter" ? "press" : actions.get(event.key);
    if (!action || isButton) return;
    event.preventDefault();
    act(action, event);
  });
}

/** Fill the help. */
export function explain(list) {
  for (const [shown, said] of [...KEYS.map(([, , shown, said]) => [shown, said]), ...EXTRA]) {
    const key = document.createElement("dt");
    const meaning = document.createElement("dd");
    key.textContent = shown;
    meaning.textContent = said;
    list.append(key, meaning);
  }
}

function isText(target) {
  return target.matches?.("input:not([type=checkbox], [type=range], [type=color]), select, textarea") ?? false;
}
