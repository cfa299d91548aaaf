/*! Contains three.js, Spark and fflate, MIT licence: see LICENSES.txt of this folder in the package. */
/** The splat viewer of a page: reads its data from the page, loads the scenes, and wires the buttons. */
import type { ViewerData, ViewerScene } from '../report/viewer-data';
import { viewerDataElement, viewerElement } from '../report/viewer-data';
import { cameraOf, upOf } from './cameras';
import { Stage } from './stage';

type Child = Node | string;

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Record<string, string> = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

async function bytesOf({ element: id, url, title }: ViewerScene): Promise<Uint8Array> {
  if (id !== undefined) {
    const text = document.getElementById(id)?.textContent?.trim() ?? '';
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }
  const response = await fetch(url ?? '');
  if (!response.ok) throw new Error(`${title}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** `state` of the element is `loading`, `drawing`, `ready` or `failed`: for style sheets and for whoever waits. */
async function start(root: HTMLElement, data: ViewerData): Promise<void> {
  const status = element('span', { role: 'status', class: 'dim' }, 'loading…');
  const canvas = element('canvas', { 'aria-label': 'splat scene: drag to turn, scroll to come closer', tabindex: '0' });
  const bar = element('div', { class: 'bar' });
  root.replaceChildren(bar, canvas, status);
  root.dataset.state = 'loading';
  try {
    let loaded = false;
    const stage = new Stage(canvas, data.background, upOf(data.views), (settled) => {
      root.dataset.state = settled && loaded ? 'ready' : 'drawing';
      if (loaded) status.textContent = 'drag to turn, right-drag to move, scroll to come closer';
    });
    for (const [i, scene] of data.scenes.entries()) {
      await stage.add(scene, await bytesOf(scene));
      if (i === 0) stage.look(data.views[0]?.camera ?? cameraOf(stage.box));
    }
    loaded = true;
    addToggle(root, bar, data, stage);
    addViews(bar, data, stage);
    new ResizeObserver(() => stage.resize()).observe(canvas);
    stage.resize();
  } catch (error) {
    root.dataset.state = 'failed';
    const reason = error instanceof Error ? error.message : String(error);
    status.textContent = `The scene cannot be shown here: ${reason}. The viewer needs WebGL 2.`;
    canvas.remove();
  }
}

function addToggle(root: HTMLElement, bar: HTMLElement, { scenes }: ViewerData, stage: Stage): void {
  let shown = 0;
  const label = element('b', {}, scenes[0].title);
  root.dataset.scene = scenes[0].title;
  bar.append(label);
  if (scenes.length < 2) return;
  const button = element('button', { type: 'button', class: 'toggle' }, `show ${scenes[1].title}`);
  button.addEventListener('click', () => {
    shown = (shown + 1) % scenes.length;
    root.dataset.scene = label.textContent = scenes[shown].title;
    button.textContent = `show ${scenes[(shown + 1) % scenes.length].title}`;
    stage.show(shown);
  });
  bar.append(button);
}

function addViews(bar: HTMLElement, { views }: ViewerData, stage: Stage): void {
  if (views.length === 0) {
    const again = element('button', { type: 'button' }, 'look from the front');
    again.addEventListener('click', () => stage.look(cameraOf(stage.box)));
    bar.append(again);
    return;
  }
  const buttons = views.map(({ name, camera }, i) => {
    const button = element('button', { type: 'button', title: `look from ${name}`, class: 'view' }, String(i + 1));
    button.addEventListener('click', () => stage.look(camera));
    return button;
  });
  bar.append(element('span', { class: 'dim' }, 'look from view'), ...buttons);
}

const root = document.getElementById(viewerElement);
const text = document.getElementById(viewerDataElement)?.textContent;
if (root && text) void start(root, JSON.parse(text) as ViewerData);
