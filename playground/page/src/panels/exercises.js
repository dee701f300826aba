// Exercises: a task, a machine for it, and the check.

import { useState } from 'preact/hooks';
import { html } from '../draw/svg.js';
import { EXERCISES } from '../exercises.js';
import { Panel } from './common.js';

/** Whether the model says that it is done. */
async function check(exercise, session, answer) {
  const { state, requests, answers, boot, views } = session;
  if (!state) return false;
  const facts = exercise.facts ? await exercise.facts((request) => session.ask(request)) : {};
  return exercise.done({ state, requests, answers, boot, audit: views.audit, answer, facts });
}

function Exercise({ exercise, session, begin, begun, solved, solve }) {
  const [answer, setAnswer] = useState('');
  const [said, setSaid] = useState('');
  const look = async (event) => {
    event.preventDefault();
    const good = await check(exercise, session, answer);
    setSaid(good ? 'Done: the model agrees.' : 'Not yet.');
    if (good) solve(exercise.id);
  };
  return html`<details class="exercise" open=${begun}><summary>${solved ? '✓ ' : ''}${exercise.title}</summary>
    <p>${exercise.task}</p>
    <form onSubmit=${look}><button type="button" onClick=${() => begin(exercise)}>Begin</button>
      ${exercise.question && html`<label>${exercise.question} <input class="mono" value=${answer} onInput=${(event) => setAnswer(event.target.value)}/></label>`}
      <button type="submit">Check</button></form>
    <p role="status" class=${said.startsWith('Done') ? 'good' : ''}>${said}</p>
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
  return html`<${Panel} name="exercises" title="Exercises">${EXERCISES.map((exercise) => html`<${Exercise} key=${exercise.id} exercise=${exercise} session=${session}
    begin=${begin} begun=${begun === exercise.id} solved=${solved.has(exercise.id)} solve=${solve}/>`)}<//>`;
}
