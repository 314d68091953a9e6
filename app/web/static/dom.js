// A small way to make elements: text is always set as text, so that no answer or file name can become markup.

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] attributes; `class`, `on…` listeners and booleans work as expected
 * @param {...(Node | string | number | null | undefined | false)} children
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** The element with this id, which the page always has. */
export function byId(id) {
  return document.getElementById(id);
}

/** A value in a unit of its own, with four digits. */
export function number(value) {
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: false }).format(value);
}

/** A share of 1 as a percentage: whole from 10% up, with one decimal below. Never 100% for less than certain. */
export function percent(share) {
  const value = share * 100;
  if (value > 99 && value < 100) return ">99%";
  if (value > 0 && value < 0.1) return "<0.1%";
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)}%`;
}
