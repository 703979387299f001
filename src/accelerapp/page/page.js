"use strict";
const at = (id) => document.getElementById(id);
const examples = JSON.parse(at("data").textContent);
let generated = null;

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function say(text, kind) {
  at("state").textContent = text;
  at("state").className = kind || "";
}

function jump(line, column) {
  const area = at("description");
  const lines = area.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  area.focus();
  area.setSelectionRange(start + (column || 1) - 1, start + (lines[line - 1] || "").length);
  area.scrollTop = Math.max(0, (line - 5) * parseFloat(getComputedStyle(area).lineHeight));
}

function problems(list, kind) {
  for (const problem of list) {
    const place = [problem.line ? "line " + problem.line : "", problem.field].filter(Boolean).join(", ");
    const button = element("button", { type: "button", className: kind, textContent: (place ? place + ": " : "") + problem.message });
    if (problem.line) button.addEventListener("click", () => jump(problem.line, problem.column));
    at("problems").append(element("li", {}, button));
  }
}

function show(file) {
  at("view").hidden = false;
  at("path").textContent = file.path;
  at("size").textContent = file.size_bytes + " bytes";
  at("content").textContent = file.content;
  const count = file.content.split("\n").length - (file.content.endsWith("\n") ? 1 : 0);
  at("lines").textContent = Array.from({ length: count }, (_, index) => index + 1).join("\n");
  at("code").scrollTo(0, 0);
  for (const button of at("files").children) button.setAttribute("aria-current", String(button.textContent === file.path));
}

function notes(assist) {
  at("notes").hidden = !assist;
  if (!assist) return;
  const withheld = assist.withheld.length ? " " + assist.withheld.length + " of its statements did not pass the review." : "";
  at("notes-hint").textContent = assist.status === "pass" ? "Written by " + assist.model + ", reviewed by rules." + withheld : "Left out: " + assist.reason + "." + withheld;
  at("explanation").textContent = assist.explanation;
  at("wiring").replaceChildren(...assist.wiring.map((note) => element("li", { textContent: note.peripheral + ": " + note.note })));
}

function clear() {
  generated = null;
  at("problems").replaceChildren();
  at("files").replaceChildren();
  at("view").hidden = true;
  at("empty").hidden = false;
  notes(null);
}

// The checkbox stands for the key of that name, wherever it is not written.
function described() {
  const text = at("description").value;
  if (!at("assist").checked || /^assist\s*:/m.test(text)) return text;
  return text.replace(/\n*$/, "\nassist: true\n");
}

async function ask(accept) {
  const answer = await fetch("/v1/generate", { method: "POST", headers: { "Content-Type": "application/yaml", Accept: accept }, body: described() });
  if (answer.ok) return answer;
  const type = answer.headers.get("Content-Type") || "";
  const problem = type.startsWith("application/problem+json") ? await answer.json() : { detail: "the service answered " + answer.status, errors: [] };
  clear();
  problems(problem.errors, "bad");
  say(problem.detail, "bad");
  return null;
}

async function busy(work) {
  const buttons = [at("generate"), at("download")];
  for (const button of buttons) button.disabled = true;
  say(at("assist").checked ? "Asking the model …" : "Generating …");
  try { await work(); } catch { clear(); say("The service does not answer.", "bad"); }
  for (const button of buttons) button.disabled = false;
}

const generate = () => busy(async () => {
  const answer = await ask("application/json");
  if (!answer) return;
  const result = await answer.json();
  clear();
  generated = result;
  at("empty").hidden = true;
  for (const file of result.files) {
    const button = element("button", { type: "button", textContent: file.path });
    button.addEventListener("click", () => show(file));
    at("files").append(button);
  }
  show(result.files.find((file) => /main\.(cpp|py)$/.test(file.path)) || result.files[0]);
  problems(result.warnings, "warn");
  notes(result.assist);
  say(result.files.length + " files for " + result.device.name + ".");
});

const download = () => busy(async () => {
  const answer = await ask("application/zip");
  if (!answer) return;
  const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "");
  const url = URL.createObjectURL(await answer.blob());
  const link = element("a", { href: url, download: name ? name[1] : "device.zip" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  say(link.download + " is downloaded.");
});

for (const example of examples) {
  const button = element("button", { type: "button", textContent: example.title });
  button.addEventListener("click", () => { at("description").value = example.text; clear(); say("An example for " + example.title + "."); });
  at("examples").append(button);
}
at("description").value = examples[1].text;
at("generate").addEventListener("click", generate);
at("download").addEventListener("click", download);
at("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText(at("content").textContent); say("Copied."); } catch { say("This browser does not allow it.", "warn"); }
});
at("description").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); generate(); }
});
