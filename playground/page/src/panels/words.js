// Words of the page, as docs/glossary.md explains them: build.js puts the rows into the page.

import { html } from '../draw/svg.js';
import { Panel } from './common.js';

/** {term, meaning} of each word. */
const WORDS = JSON.parse(document.getElementById('words').textContent);

const idOf = (term) => `word-${term.toLowerCase().replaceAll(' ', '-')}`;

/** A word with its meaning: as its title, and where its link leads. */
export function Word({ of, children }) {
  const { term, meaning } = WORDS.find((one) => one.term === of);
  const show = (event) => {
    event.preventDefault();
    const place = document.getElementById(idOf(term));
    place.closest('details').open = true;
    place.scrollIntoView({ block: 'center' });
    place.focus({ preventScroll: true });
  };
  return html`<a class="word" href=${`#${idOf(term)}`} title=${meaning} onClick=${show}>${children ?? term}</a>`;
}

export const WordsPanel = () => html`<${Panel} name="glossary" title="Words"><details><summary>What the words of this page mean</summary>
  <dl class="words">${WORDS.map(({ term, meaning }) => html`<dt id=${idOf(term)} tabindex="-1">${term}</dt><dd>${meaning}</dd>`)}</dl></details><//>`;
