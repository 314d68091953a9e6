// Where the time of a request went, from the Server-Timing header.
import { element } from "./dom.js";

/** A bar of stages with its legend. `stages` is [{name, milliseconds}], `elapsed` what the browser measured. */
export function timingNodes(stages, elapsed) {
  const parts = stages.filter(({ name }) => name !== "total");
  const sum = parts.reduce((total, { milliseconds }) => total + milliseconds, 0);
  const total = stages.find(({ name }) => name === "total")?.milliseconds ?? sum;
  const heading = element(
    "p",
    { class: "timing-head" },
    element("strong", {}, milliseconds(total)),
    ` in the service, ${milliseconds(elapsed)} with the way there and back`,
  );
  if (sum === 0) return [heading];
  const track = element("div", { class: "stages", "aria-hidden": "true" });
  const legend = element("ul", { class: "legend" });
  parts.forEach((part, place) => {
    const segment = element("span", { class: `stage stage-${place % 6}` });
    segment.style.flexGrow = String(part.milliseconds / sum);
    track.append(segment);
    legend.append(
      element(
        "li",
        {},
        element("span", { class: `key stage-${place % 6}`, "aria-hidden": "true" }),
        `${part.name} `,
        element("span", { class: "ms" }, milliseconds(part.milliseconds)),
      ),
    );
  });
  return [heading, track, legend];
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
