// The list of objects: which is active, what it is called, and how it stands in this frame.

import { describe, isUnsure } from "./store.js";

export class ObjectList {
  /** `act` has choose, name, remove and toggle. */
  constructor(list, store, act) {
    Object.assign(this, { list, store, act });
  }

  show(frame, active, hidden) {
    const { store } = this;
    // What is being typed must not be taken away.
    const typing = this.list.contains(document.activeElement) && document.activeElement.matches(".name");
    const key = JSON.stringify([[...store.objects], active, [...hidden], frame, [...store.objects.keys()].map((id) => describe(store.mask(frame, id)))]);
    if (key === this.key || (typing && document.activeElement.dataset.dirty)) return;
    this.key = key;
    const focused = this.list.contains(document.activeElement) ? document.activeElement.id : "";
    this.list.replaceChildren(
      ...[...store.objects].map(([id, value], row) => this.item(id, value, row, frame, active, hidden)),
    );
    if (!store.objects.size) this.list.append(element("li", { className: "state", textContent: "None yet: name one, or click on the frame." }));
    if (focused) document.getElementById(focused)?.focus();
  }

  item(id, value, row, frame, active, hidden) {
    const mask = this.store.mask(frame, id);
    const item = element("li", { className: id === active ? "active" : "" });
    item.addEventListener("click", () => this.act.choose(id));
    const color = element("input", { type: "color", id: `color-${id}`, value: toHex(value.color), ariaLabel: `Colour of ${value.name}` });
    color.addEventListener("change", () => this.act.name(id, { ...value, color: fromHex(color.value) }));
    const name = element("input", { className: "name", id: `name-${id}`, value: value.name, maxLength: 200, ariaLabel: `Name of object ${id}` });
    name.addEventListener("input", () => (name.dataset.dirty = "1"));
    name.addEventListener("change", () => {
      delete name.dataset.dirty;
      if (name.value.trim()) this.act.name(id, { ...value, name: name.value.trim() });
    });
    name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
    const isHidden = hidden.has(id);
    const eye = element("button", { type: "button", id: `eye-${id}`, textContent: isHidden ? "○" : "●", title: isHidden ? "Show" : "Hide", ariaLabel: `${isHidden ? "Show" : "Hide"} ${value.name}` });
    eye.addEventListener("click", (event) => this.apart(event, () => this.act.toggle(id)));
    const remove = element("button", { type: "button", id: `remove-${id}`, textContent: "✕", title: "Remove (can be undone)", ariaLabel: `Remove ${value.name}` });
    remove.addEventListener("click", (event) => this.apart(event, () => this.act.remove(id)));
    const number = row < 9 ? `${row + 1} · ` : "";
    const state = element("span", { className: `state${mask && isUnsure(mask) ? " unsure" : ""}`, textContent: number + describe(mask) });
    item.append(color, name, eye, remove, ...(this.store.classes.length ? [this.labels(id, value)] : []), state);
    if (id === active) item.setAttribute("aria-current", "true");
    return item;
  }

  labels(id, value) {
    const choice = element("select", { id: `label-${id}`, ariaLabel: `Class of ${value.name}` });
    choice.append(element("option", { value: "", textContent: "no class" }));
    for (const { name } of this.store.classes) choice.append(element("option", { value: name, textContent: name }));
    choice.value = value.label ?? "";
    choice.addEventListener("change", () => {
      const label = choice.value || null;
      // With its class an object takes that name, unless a person gave it one of its own.
      const isOwn = value.name !== (value.label ?? "") && !value.name.startsWith("object ");
      const { color } = this.store.classes.find((entry) => entry.name === label) ?? value;
      this.act.name(id, { name: isOwn || !label ? value.name : label, label, color });
    });
    return choice;
  }

  apart(event, act) {
    event.stopPropagation();
    act();
  }
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

function toHex(color) {
  return `#${color.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

function fromHex(text) {
  return [1, 3, 5].map((start) => Number.parseInt(text.slice(start, start + 2), 16));
}
