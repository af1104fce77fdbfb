// The page of a live run: what comes over the socket goes to the parts of the page, and back.
import { connect } from "./socket.js";
import { Objects } from "./objects.js";
import { Stage } from "./stage.js";
import { showNumbers } from "./numbers.js";

const element = (id) => document.getElementById(id);
const objects = new Objects(element("objects"), (id) => socket.send({ kind: "remove", object: id }));
const stage = new Stage(element("picture"), element("marks"), element("curtain"), (shown) =>
  socket.send(shown.kind === "hold" ? shown : { ...shown, object: objects.prompted() }),
);

const socket = connect("pictures", {
  async picture(description, jpeg) {
    await stage.show(description, jpeg);
    objects.update(description);
    socket.send({ kind: "seen", frame: description.frame });
  },
  reply(reply) {
    if (reply.kind === "refused") note(reply.reason, true);
    else note(`object ${reply.object}: taken in frame ${reply.frame}`, false);
  },
});

function note(text, isRefusal) {
  element("note").textContent = text;
  element("note").classList.toggle("refused", isRefusal);
}

element("new").addEventListener("click", () => objects.begin());
element("phrase").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = event.target.elements.text.value.trim();
  if (!text) return;
  socket.send({ kind: "phrase", object: objects.prompted(), text });
  event.target.reset();
});
for (const choice of document.querySelectorAll("input[name=tool]")) {
  choice.addEventListener("change", () => (stage.tool = choice.value));
}
document.addEventListener("keydown", (event) => {
  if (event.target.name === "text" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "n") objects.begin();
  if (/^[1-9]$/.test(event.key)) objects.select(Number(event.key));
});
element("theme").addEventListener("click", () => {
  const isDark = getComputedStyle(document.body).colorScheme === "dark" ||
    (document.documentElement.style.colorScheme === "" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.style.colorScheme = isDark ? "light" : "dark";
});
showNumbers(element("numbers"), element("state"), element("source"));
