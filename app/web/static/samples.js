// Pictures that come with the page, each with its text.
import { element } from "./dom.js";

/** The sample buttons; `choose(file, text)` is called with the sample that was pressed. */
export async function sampleButtons(choose) {
  const response = await fetch("/static/samples/samples.json");
  if (!response.ok) return [];
  const samples = await response.json();
  return samples.map(({ picture, text, name }) => {
    const address = `/static/samples/${picture}`;
    const press = async () => {
      const blob = await (await fetch(address)).blob();
      choose(new File([blob], picture, { type: blob.type }), text);
    };
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: "sample", title: name, onclick: press },
        element("img", { src: address, alt: name, width: 60, height: 80, loading: "lazy" }),
      ),
    );
  });
}
