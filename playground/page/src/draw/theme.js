// Colours of what pages are used for, once for light and once for dark. A picture in a file carries them as a style of
// its own; the page has them as custom properties.

/** use: [name in the legend, light, dark]. The order is that of the legend. */
export const USES = {
  free: ['free', '#8fce9a', '#3f8a50'],
  tenant: ['tenant', '#3a7bd5', '#6aa5f5'],
  memmap: ['memmap (struct pages)', '#f08c1e', '#f2a24a'],
  table: ['translation table', '#8e44ad', '#c48be0'],
  huge: ['huge page', '#149a9a', '#3cc4c4'],
  device: ['device', '#c2568f', '#e085b5'],
  pinned: ['pinned', '#1c3f78', '#a9c8f7'],
  poisoned: ['poisoned', '#d3222a', '#ff5a5f'],
  reserved: ['reserved (image, firmware)', '#7d8590', '#8b949e'],
  kernel: ['kernel data', '#59636e', '#b1bac4'],
  mixed: ['several uses', '#b8a14a', '#8a7a3a'],
  other: ['other uses', '#b8a14a', '#8a7a3a'],
  damaged: ['damaged struct page', '#ff00aa', '#ff66cc'],
  uninitialised: ['struct page not initialised yet', '#e6d8bd', '#544a38'],
  unreadable: ['struct page not mapped', '#000000', '#ffffff'],
  hole: ['hole', '#ffffff', '#14181d'],
  offline: ['offline', '#cfd5db', '#3d444d'],
  unplugged: ['unplugged', '#eef0f2', '#22272e'],
};

const OTHER = {
  ink: ['#1b1f24', '#e6e9ed'],
  quiet: ['#57606a', '#9aa4af'],
  line: ['#c8ced5', '#40474f'],
  paper: ['#ffffff', '#14181d'],
  panel: ['#f6f7f9', '#1b2026'],
  lit: ['#b35900', '#ffb454'],
  glow: ['#ff9d00', '#ffd27a'],
  stale: ['#c4141c', '#ff7b80'],
  good: ['#1a7f37', '#57d17a'],
  focus: ['#0550ae', '#79b8ff'],
};

const column = (at) => {
  const uses = Object.entries(USES).map(([use, colours]) => `--use-${use}:${colours[at + 1]}`);
  const rest = Object.entries(OTHER).map(([name, colours]) => `--${name}:${colours[at]}`);
  return [...uses, ...rest].join(';');
};

/** Custom properties for light and dark; `chosen` is what follows a switch on the root element. */
export function properties(root = ':root') {
  return `${root}{${column(0)}}
@media (prefers-color-scheme: dark){${root}{${column(1)}}}
${root}[data-theme=light]{${column(0)}}
${root}[data-theme=dark]{${column(1)}}`;
}

/** The rules for what the drawing functions draw. */
export const RULES = `
svg.drawing{font:12px system-ui,"DejaVu Sans",sans-serif;fill:var(--ink);display:block}
.drawing text{fill:var(--ink)} .drawing .quiet{fill:var(--quiet)} .drawing .small{font-size:10.5px}
.drawing .mono{font-family:ui-monospace,"DejaVu Sans Mono",monospace}
.drawing .strong{font-weight:600} .drawing .end{text-anchor:end} .drawing .middle{text-anchor:middle}
.drawing .frame{fill:none;stroke:var(--line)} .drawing .paper{fill:var(--panel);stroke:var(--line)}
.drawing .arrow{fill:none;stroke:var(--quiet);stroke-width:1.1;opacity:.55}
.drawing .arrow.lit{stroke:var(--lit);stroke-width:2.2;opacity:1}
.drawing .arrow.shared{stroke:var(--glow);opacity:.9}
.drawing .tip{fill:var(--quiet)} .drawing .tip.lit{fill:var(--lit)} .drawing .tip.shared{fill:var(--glow)}
.drawing .chosen{fill:none;stroke:var(--lit);stroke-width:2.5}
.drawing .glow{fill:none;stroke:var(--glow);stroke-width:2.5;filter:drop-shadow(0 0 2.5px var(--glow))}
.drawing .readonly{fill:url(#readonly)}
.drawing .run{stroke:var(--paper);stroke-width:.5}
.drawing .lit{stroke:var(--lit)} .drawing .litfill{fill:var(--lit)}
.drawing .bit{stroke:var(--line);stroke-width:.6} .drawing .badge{fill:var(--lit)}
.drawing .stale{fill:var(--stale)} .drawing .gap{stroke:var(--line);stroke-dasharray:3 4}
${Object.keys(USES).map((use) => `.drawing .use-${use}{fill:var(--use-${use})}`).join('\n')}
`;

/** The rules for drawings that are pressed: a page has them, a file does not. */
export const PRESSED = `.drawing .row{cursor:pointer}
.drawing .focus{fill:none;stroke:transparent;pointer-events:none;outline:none}
.drawing .focus:focus-visible{stroke:var(--focus);stroke-width:2.5}
`;

/** The style of a picture that stands alone in a file. */
export const pictureStyle = () => `${properties('svg.drawing')}\n${RULES}\nsvg.drawing{background:var(--paper)}`;

/** The class of a use: one that the page does not know is drawn as reserved. */
export const useClass = (use) => `use-${use in USES ? use : 'reserved'}`;

/** How opaque a run is: free runs by their order, so that large ones look solid. */
export const shade = (run, top = 15) => (run.use === 'free' ? 0.35 + (0.65 * Math.min(run.order ?? top, top)) / top : 1);
