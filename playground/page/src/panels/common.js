// What panels share.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../draw/svg.js';

/** A part of the page with its heading. */
export function Panel({ title, name, note, children, tools }) {
  return html`<section class=${`panel ${name}`} aria-labelledby=${`title-${name}`} id=${name}>
    <header><h2 id=${`title-${name}`}>${title}</h2>${note && html`<p class="note">${note}</p>`}${tools}</header>${children}</section>`;
}

/** Why a view cannot be drawn. Without a view there is nothing to say here: the notice above says why there is no machine. */
export const Missing = ({ view, what }) => (view?.error ? html`<p class="missing">${what}: ${view.error}</p>` : null);

/** Whether a view can be drawn. */
export const has = (view) => Boolean(view) && !view.error;

/**
 * A drawing that is as wide as its place: `draw(width)`. It is drawn anew when the width or one of `of` changes: else
 * the same nodes are handed out, and preact does not look at them.
 */
export function Drawing({ draw, of, least = 320 }) {
  const place = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const measure = () => place.current && setWidth(Math.max(least, Math.floor(place.current.clientWidth)));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  const drawn = useMemo(() => width > 0 && draw(width), [width, ...of]);
  return html`<div class="place" ref=${place}>${drawn}</div>`;
}

/** Scrolls to a part of the page. */
export const showPanel = (id) => document.getElementById(id)?.scrollIntoView({ block: 'start' });

/** A link to a part of the page. The address keeps its fragment, which is the session. */
export function To({ panel, children }) {
  return html`<a href=${`#${panel}`} onClick=${(event) => { event.preventDefault(); showPanel(panel); }}>${children}</a>`;
}
