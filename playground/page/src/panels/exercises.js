// Exercises: a task, a machine for it, and the check.

import { useState } from 'preact/hooks';
import { html } from '../draw/svg.js';
import { EXERCISES, INVARIANTS } from '../exercises.js';
import { Panel } from './common.js';

/** What is missing, as a sentence, or null: the model says that it is done. */
async function missing(exercise, session, answer) {
  const { state, requests, answers, boot, views } = session;
  if (!state) return 'There is no machine.';
  const facts = exercise.facts ? await exercise.facts((request) => session.ask(request)) : {};
  return exercise.lacks({ state, requests, answers, boot, views, audit: views.audit, answer, facts });
}

const Invariants = () => html`<details><summary>The invariants I1 to I8</summary><dl class="words">${INVARIANTS.map(([name, text]) => html`<dt>${name}</dt><dd>${text}</dd>`)}</dl></details>`;

function Exercise({ exercise, session, begin, begun, solved, solve }) {
  const [answer, setAnswer] = useState('');
  const [verdict, setVerdict] = useState(null);
  // A verdict is that of one moment and one answer.
  const holds = verdict && verdict.requests === session.requests && verdict.at === session.at && verdict.answer === answer;
  const look = async (event) => {
    event.preventDefault();
    const { requests, at } = session;
    const lacks = await missing(exercise, session, answer);
    setVerdict({ requests, at, answer, lacks });
    if (lacks === null) solve(exercise.id);
  };
  return html`<details class="exercise" open=${begun}><summary>${solved ? '✓ ' : ''}${exercise.title}</summary>
    <p>${exercise.task}</p>${exercise.invariants && html`<${Invariants}/>`}
    <form onSubmit=${look}><button type="button" onClick=${() => begin(exercise)}>Begin</button>
      ${exercise.question && html`<label>${exercise.question} <input class="mono" value=${answer} onInput=${(event) => setAnswer(event.target.value)}/></label>`}
      <button type="submit">Check</button></form>
    <p role="status" class=${holds && verdict.lacks === null ? 'good' : ''}>${holds ? verdict.lacks === null ? 'Done: the model agrees.' : `Not yet. ${verdict.lacks}` : ''}</p>
    <details><summary>Hint</summary><p>${exercise.hint}</p></details></details>`;
}

export function ExercisesPanel({ session }) {
  const [begun, setBegun] = useState(null);
  const [solved, setSolved] = useState(new Set());
  if (!session.source.can.act) return null;
  const begin = (exercise) => {
    setBegun(exercise.id);
    session.start(typeof exercise.machine === 'function' ? exercise.machine() : exercise.machine, exercise.secret);
  };
  const solve = (id) => setSolved(new Set([...solved, id]));
  return html`<${Panel} name="exercises" title="Exercises" note="“Begin” boots a new machine in place of the one that runs.">${EXERCISES.map((exercise) => html`<${Exercise} key=${exercise.id} exercise=${exercise} session=${session}
    begin=${begin} begun=${begun === exercise.id} solved=${solved.has(exercise.id)} solve=${solve}/>`)}<//>`;
}
