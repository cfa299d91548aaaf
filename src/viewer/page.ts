/** Script of a page with before/after pictures: fills each pair from the grids and moves its dividing line with its slider. */

for (const picture of document.querySelectorAll<HTMLImageElement>('img[data-same]')) {
  const original = document.getElementById(picture.dataset.same ?? '');
  if (original instanceof HTMLImageElement) picture.src = original.src;
}

for (const pair of document.querySelectorAll<HTMLElement>('.compare')) {
  const slider = pair.querySelector<HTMLInputElement>('input[type=range]');
  if (!slider) continue;
  const move = (): void => pair.style.setProperty('--at', `${slider.value}%`);
  slider.addEventListener('input', move);
  move();
}
