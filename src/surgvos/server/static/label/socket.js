// The connection to the server: it comes back by itself, and whatever was asked is answered or fails.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 4000;

export class Connection extends EventTarget {
  constructor() {
    super();
    this.waiting = new Map();
    this.nextId = 1;
    this.waitMs = FIRST_WAIT_MS;
    this.open();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/socket`);
    this.socket.addEventListener("open", () => {
      this.waitMs = FIRST_WAIT_MS;
      this.tell("open");
    });
    this.socket.addEventListener("message", (event) => this.hear(JSON.parse(event.data)));
    this.socket.addEventListener("close", () => {
      for (const { reject } of this.waiting.values()) reject(new Error("the server does not answer"));
      this.waiting.clear();
      this.tell("lost");
      setTimeout(() => this.open(), this.waitMs);
      this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
    });
  }

  /** Ask for something; the promise is kept once it is done and saved. */
  ask(kind, fields = {}) {
    if (!this.isOpen) return Promise.reject(new Error("the server does not answer; it is tried again"));
    const id = this.nextId;
    this.nextId += 1;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, do: { kind, ...fields } }));
    this.tell("pending");
    return answer;
  }

  hear(message) {
    if (message.kind === "done" || message.kind === "refused") {
      const asked = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.kind === "done") asked?.resolve(message);
      else asked?.reject(new Error(message.reason));
      this.tell("pending");
      return;
    }
    this.tell(message.kind, message);
  }

  tell(kind, detail = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
