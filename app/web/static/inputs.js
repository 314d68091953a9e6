// One input a modality: a place for a picture, a field for a text.
import { element } from "./dom.js";

/**
 * Build the inputs of a model.
 * @param {Record<string, {kind: string}>} modalities
 * @param {() => void} changed called whenever a value changes
 * @returns {{nodes: HTMLElement[], values: () => Record<string, File | string>, fill: (picture: File, text: string) => void,
 *   takePicture: (file: File) => boolean}}
 */
export function buildInputs(modalities, changed) {
  const inputs = [];
  for (const [name, { kind }] of Object.entries(modalities)) {
    if (kind === "image") inputs.push(pictureInput(name, changed));
    if (kind === "text") inputs.push(textInput(name, changed));
  }
  const first = (kind) => inputs.find((input) => input.kind === kind);
  return {
    nodes: inputs.map((input) => input.node),
    values: () => Object.fromEntries(inputs.filter((input) => input.value()).map((input) => [input.name, input.value()])),
    fill(picture, text) {
      first("image")?.set(picture);
      first("text")?.set(text);
    },
    takePicture(file) {
      const input = inputs.find((candidate) => candidate.kind === "image" && !candidate.value()) || first("image");
      input?.set(file);
      return input !== undefined;
    },
  };
}

function textInput(name, changed) {
  const id = `input-${name}`;
  const field = element("textarea", { id, rows: 2, spellcheck: "false", autocomplete: "off", oninput: changed });
  const node = element("div", { class: "field" }, element("label", { for: id }, name), field);
  return {
    name,
    kind: "text",
    node,
    value: () => field.value.trim(),
    set(text) {
      field.value = text;
      changed();
    },
  };
}

function pictureInput(name, changed) {
  const id = `input-${name}`;
  let file = null;
  let address = null;

  const chooser = element("input", { id, type: "file", accept: "image/*", class: "unseen", "aria-describedby": `${id}-hint` });
  const preview = element("img", { class: "preview", alt: "", hidden: true });
  const hint = element(
    "span",
    { class: "hint", id: `${id}-hint` },
    element("strong", {}, "Choose a picture"),
    element("span", {}, "or drop or paste one here"),
  );
  const caption = element("span", { class: "caption", hidden: true });
  const zone = element("label", { class: "zone", for: id }, preview, hint, caption);
  const remove = element("button", { type: "button", class: "remove", hidden: true, "aria-label": `Remove ${name}` }, "×");
  const node = element(
    "div",
    { class: "field" },
    element("span", { class: "label", id: `${id}-label` }, name),
    element("div", { class: "picture" }, chooser, zone, remove),
  );
  chooser.setAttribute("aria-labelledby", `${id}-label`);

  function set(next) {
    if (address) URL.revokeObjectURL(address);
    file = next;
    address = next ? URL.createObjectURL(next) : null;
    zone.classList.toggle("filled", Boolean(next));
    hint.hidden = Boolean(next);
    remove.hidden = !next;
    caption.hidden = !next;
    caption.textContent = next ? `${next.name} · ${size(next.size)}` : "";
    preview.hidden = !next;
    if (next) {
      preview.src = address;
      preview.alt = `Chosen picture ${next.name}`;
    } else {
      preview.removeAttribute("src");
      chooser.value = "";
    }
    changed();
  }

  // A file that the browser cannot show may still be one that the service reads, so it stays chosen.
  preview.addEventListener("error", () => {
    preview.hidden = true;
  });
  chooser.addEventListener("change", () => chooser.files[0] && set(chooser.files[0]));
  remove.addEventListener("click", () => {
    set(null);
    chooser.focus();
  });
  for (const type of ["dragenter", "dragover"]) {
    zone.addEventListener(type, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const type of ["dragleave", "drop"]) zone.addEventListener(type, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    const dropped = event.dataTransfer.files[0];
    if (dropped) set(dropped);
  });

  return { name, kind: "image", node, value: () => file, set };
}

function size(bytes) {
  return bytes < 1024 * 1024 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
