"use strict";
// Texts come from models and strangers: they are only ever set as textContent, never as markup.
(() => {
  const PAGE = 25, CHUNK = 50, LONGEST = 1200;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const index = read("index");
  const bodies = new Map();
  const list = document.getElementById("list"), said = document.getElementById("said");
  const search = document.getElementById("search"), only = document.getElementById("only");
  let matching = [], page = 0;

  const make = (name, text, kind) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  // The bodies follow this script in the file, so that the list works before the last of them is read.
  const body = (at) => {
    const chunk = Math.floor(at / CHUNK);
    if (!bodies.has(chunk)) bodies.set(chunk, read("chunk-" + chunk));
    return bodies.get(chunk)[at % CHUNK];
  };

  // Longest common run of words, with the equal ends cut off first; long texts are shown without marks.
  const diff = (before, after) => {
    const x = before.split(/(\s+)/), y = after.split(/(\s+)/);
    let head = 0, tail = 0;
    while (head < x.length && head < y.length && x[head] === y[head]) head++;
    while (tail < x.length - head && tail < y.length - head && x[x.length - 1 - tail] === y[y.length - 1 - tail]) tail++;
    const a = x.slice(head, x.length - tail), b = y.slice(head, y.length - tail);
    if (a.length > LONGEST || b.length > LONGEST) return [["", after]];
    const width = b.length + 1, best = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    const parts = [["", x.slice(0, head).join("")]];
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { parts.push(["", a[i]]); i++; j++; }
      else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) parts.push(["del", a[i++]]);
      else parts.push(["ins", b[j++]]);
    }
    parts.push(["", tail ? x.slice(x.length - tail).join("") : ""]);
    return parts;
  };

  const turn = (label, text, before) => {
    const box = make("div", undefined, "turn"), lines = make("pre");
    box.append(make("b", label));
    if (before === undefined) lines.textContent = text;
    else for (const [kind, part] of diff(before, text)) lines.append(kind ? make(kind, part) : document.createTextNode(part));
    box.append(lines);
    return box;
  };

  const side = (one) => {
    const box = make("div");
    box.append(make("h4", one.name));
    box.append(turn("draft", one.draft));
    let reply = one.draft;
    for (const [principle, violated, critique, revision, flags] of one.steps) {
      const found = violated === null ? "unread" : violated ? "problem found" : "no problem";
      box.append(turn("critique: " + principle + " (" + found + ")" + (flags.length ? " " + flags.join(", ") : ""), critique));
      if (revision !== null) { box.append(turn("revision", revision, reply)); reply = revision || reply; }
    }
    box.append(turn("final" + (one.flags.length ? " (" + one.flags.join(", ") + ")" : ""), one.final, one.draft));
    return box;
  };

  const open = (details, at) => {
    if (details.dataset.filled) return;
    if (!document.getElementById("chunk-" + Math.floor(at / CHUNK)) && document.readyState === "loading") {
      document.addEventListener("DOMContentLoaded", () => open(details, at), { once: true });
      return;
    }
    details.dataset.filled = "yes";
    const found = body(at);
    for (const [role, content] of found.messages) details.append(turn(role, content));
    const [first, second] = found.sides;
    if (second) details.append(turn("final replies, " + first.name + " to " + second.name, second.final, first.final));
    const sides = make("div", undefined, "sides");
    found.sides.forEach((one) => sides.append(side(one)));
    details.append(sides);
  };

  const entry = (at) => {
    const [text, category, flips] = index[at], details = make("details"), line = make("summary", text);
    if (category) line.append(make("span", category, "tag"));
    for (const flip of flips)
      for (const [sign, names] of [["+", flip.gained], ["−", flip.lost]])
        for (const name of names) line.append(make("span", flip.b + " " + sign + " " + name, "tag"));
    details.append(line);
    details.addEventListener("toggle", () => open(details, at));
    return details;
  };

  const show = () => {
    const pages = Math.max(1, Math.ceil(matching.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...matching.slice(page * PAGE, (page + 1) * PAGE).map(entry));
    said.textContent = matching.length + " conversations, page " + (page + 1) + " of " + pages;
  };

  const filter = () => {
    const words = search.value.toLowerCase(), kind = only.value;
    matching = [];
    index.forEach(([text, category, flips], at) => {
      const fits = kind === "" || (kind === "flips" ? flips.length > 0
        : flips.some((f) => f.gained.includes(kind) || f.lost.includes(kind)));
      if (fits && (text + " " + category).toLowerCase().includes(words)) matching.push(at);
    });
    page = 0;
    show();
  };

  const kinds = new Set(index.flatMap(([, , flips]) => flips.flatMap((f) => [...f.gained, ...f.lost])));
  for (const kind of kinds) { const choice = make("option", "changed: " + kind); choice.value = kind; only.append(choice); }
  search.addEventListener("input", filter);
  only.addEventListener("change", filter);
  document.getElementById("back").addEventListener("click", () => { page--; show(); });
  document.getElementById("on").addEventListener("click", () => { page++; show(); });
  if (!index.some(([, , flips]) => flips.length)) only.value = "";
  filter();
  document.body.dataset.ready = Math.round(performance.now());
})();
