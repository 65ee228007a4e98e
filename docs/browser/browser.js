// Refine one person's pose on a photo with posefix.onnx; nothing leaves the browser.
// `refine` and `poseOf` can be imported by any page; in the page "In the browser" the rest shows what they do.
import * as ort from "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/ort.wasm.bundle.min.mjs";

const WIDTH = 192, HEIGHT = 256; // px of the crop
const FRAME = [188, 252], PADDING = 1.25; // px of the crop that the person's box, so much enlarged, fits into
const POSE_BOX_PADDING = 0.15; // share of a pose's extent that its box is wider on each side
const MEDIAPIPE = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]; // COCO's keypoints among its landmarks

/**
 * Refine one person.
 * @param session - the ort.InferenceSession of posefix.onnx
 * @param {ImageData} image
 * @param {number[][]} pose - COCO's 17 keypoints as [x, y, confidence], in pixels; confidence 0: there is no estimate
 * @param {number[]} box - [x, y, width, height] of the person, in pixels
 * @returns {Promise<{keypoints: number[][], expectedOks: number}>} 17 x [x, y, expected similarity to the truth]
 */
export async function refine(session, image, pose, box = boxOf(pose)) {
  const [x, y, width, height] = box;
  const scale = Math.min(FRAME[0] / width, FRAME[1] / height) / PADDING; // pixels of the crop for one of the image
  const left = (WIDTH - 1) / 2 - scale * (x + width / 2), top = (HEIGHT - 1) / 2 - scale * (y + height / 2);
  const place = (x, y) => [scale * x + left, scale * y + top];
  const factor = Math.max(Math.floor(1 / scale), 1), shift = scale * (factor - 1) / 2; // of blocks averaged first
  const found = await session.run({
    crops: new ort.Tensor("uint8", crop(shrink(image, factor), factor * scale, left + shift, top + shift), [1, HEIGHT, WIDTH, 3]),
    poses: new ort.Tensor("float32", pose.flatMap(([x, y, score]) => [...place(x, y), score]), [1, 17, 3]),
    boxes: new ort.Tensor("float32", [...place(x, y), ...place(x + width, y + height)], [1, 4]),
  });
  const values = found.refined.data;
  const keypoints = pose.map((_, k) => [(values[3 * k] - left) / scale, (values[3 * k + 1] - top) / scale, values[3 * k + 2]]);
  return { keypoints, expectedOks: found.expected_oks.data[0] };
}

/** The extent [x, y, width, height] of a pose, a little widened. */
export function boxOf(pose) {
  const given = pose.filter(([, , score]) => score > 0);
  const [low, high] = [Math.min, Math.max].map((pick) => [0, 1].map((axis) => pick(...given.map((point) => point[axis]))));
  const [width, height] = [0, 1].map((axis) => Math.max(high[axis] - low[axis], 4));
  const [right, down] = [POSE_BOX_PADDING * width, POSE_BOX_PADDING * height];
  return [low[0] - right, low[1] - down, width + 2 * right, height + 2 * down];
}

/** Average blocks of factor x factor pixels, so that large people do not alias. */
function shrink(image, factor) {
  if (factor === 1) return image;
  const small = new ImageData(Math.floor(image.width / factor), Math.floor(image.height / factor));
  for (let y = 0, at = 0; y < small.height; y++) {
    for (let x = 0; x < small.width; x++) {
      for (let channel = 0; channel < 4; channel++, at++) {
        let sum = 0;
        for (let v = y * factor; v < (y + 1) * factor; v++) {
          for (let u = x * factor; u < (x + 1) * factor; u++) sum += image.data[4 * (v * image.width + u) + channel];
        }
        small.data[at] = sum / factor ** 2;
      }
    }
  }
  return small;
}

/** Cut out RGB bytes (HEIGHT, WIDTH, 3) by the map `scale * p + (left, top)`: bilinear, black outside the image. */
function crop(image, scale, left, top) {
  const bytes = new Uint8Array(HEIGHT * WIDTH * 3);
  for (let row = 0, at = 0; row < HEIGHT; row++) {
    for (let column = 0; column < WIDTH; column++) {
      const x = (column - left) / scale, y = (row - top) / scale, x0 = Math.floor(x), y0 = Math.floor(y);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0.5;
        for (const [u, v] of [[x0, y0], [x0 + 1, y0], [x0, y0 + 1], [x0 + 1, y0 + 1]]) {
          const inside = u >= 0 && v >= 0 && u < image.width && v < image.height;
          if (inside) sum += (1 - Math.abs(x - u)) * (1 - Math.abs(y - v)) * image.data[4 * (v * image.width + u) + channel];
        }
        bytes[at++] = sum;
      }
    }
  }
  return bytes;
}

/**
 * The first person of what pose estimators give in a browser, as 17 x [x, y, confidence] in pixels: a result of
 * TensorFlow.js' `estimatePoses` (MoveNet, PoseNet, BlazePose) or of MediaPipe's `PoseLandmarker.detect`.
 */
export function poseOf(found, width, height) {
  const normalised = Boolean(found?.landmarks); // MediaPipe's are, to the image's size
  let points = normalised ? found.landmarks[0] : (found?.[0]?.keypoints ?? found?.keypoints ?? found);
  if (points?.length === 33) points = MEDIAPIPE.map((landmark) => points[landmark]);
  if (points?.length !== 17) throw new Error("The file holds neither 17 (COCO, MoveNet) nor 33 (MediaPipe) keypoints.");
  const pose = points.map(({ x, y, score, visibility }) => [x, y, score ?? visibility ?? 0.5]);
  return normalised ? scaled(pose, width, height) : pose;
}

const scaled = (pose, right, down) => pose.map(([x, y, score]) => [x * right, y * down, score]);

const LONGEST = 1000; // px; larger photos are shrunk, which also keeps the crops of large people smooth
const REACH = 20; // px around a keypoint where it can be taken hold of
const ORANGE = "#ff9100", BLUE = "#28aaff", WHITE = "#fafafa"; // the person's left, right, and neither
const LIMBS = [[15, 13], [13, 11], [16, 14], [14, 12], [11, 12], [5, 11], [6, 12], [5, 6], [5, 7], [7, 9], [6, 8], [8, 10],
  [1, 2], [0, 1], [0, 2], [1, 3], [2, 4]];
const START = [[147, 67, 0.5], [166, 85, 0.2], [0, 0, 0], [181, 71, 0.5], [0, 0, 0], [183, 117, 0.4], [150, 65, 0.2],
  [197, 197, 0.3], [223, 187, 0.4], [271, 229, 0.4], [82, 215, 0.4], [150, 262, 0.5], [218, 261, 0.3], [103, 264, 0.2],
  [200, 337, 0.5], [179, 433, 0.2], [272, 399, 0.5]]; // a pose with errors of all kinds on the photo of the page

export { ort };

/** What the page shows: the photo as ImageData, how much it was shrunk, the given pose and the refined one. */
export const shown = { session: null, photo: null, shrunk: 1, pose: START, refined: null };

function start(page) {
  const [before, after] = page.querySelectorAll("canvas"), status = page.querySelector("output");
  const say = (text) => { status.textContent = text; };

  function draw(canvas, pose) {
    const context = canvas.getContext("2d"), colour = (k) => (k === 0 ? WHITE : k % 2 ? ORANGE : BLUE);
    [canvas.width, canvas.height] = [shown.photo.width, shown.photo.height];
    context.putImageData(shown.photo, 0, 0);
    context.lineWidth = Math.max(canvas.width, canvas.height) / 180;
    for (const [a, b] of LIMBS.filter((ends) => pose && ends.every((k) => pose[k][2] > 0))) {
      context.strokeStyle = a % 2 === b % 2 ? colour(a) : WHITE;
      context.beginPath();
      context.moveTo(pose[a][0], pose[a][1]);
      context.lineTo(pose[b][0], pose[b][1]);
      context.stroke();
    }
    pose?.forEach(([x, y, score], k) => {
      context.fillStyle = colour(k);
      context.beginPath();
      if (score > 0) context.arc(x, y, 1.3 * context.lineWidth, 0, 2 * Math.PI);
      context.fill();
    });
  }

  async function show() {
    draw(before, shown.pose);
    shown.refined = null;
    if (shown.session) {
      const began = performance.now(), found = await refine(shown.session, shown.photo, shown.pose);
      shown.refined = found.keypoints;
      say(`Expected OKS of the refined pose: ${found.expectedOks.toFixed(2)} (${Math.round(performance.now() - began)} ms).`);
    }
    draw(after, shown.refined);
  }

  async function open(blob) {
    const full = await createImageBitmap(blob), shrunk = Math.min(1, LONGEST / Math.max(full.width, full.height));
    const [width, height] = [full.width, full.height].map((length) => Math.round(length * shrunk));
    const options = { resizeWidth: width, resizeHeight: height, resizeQuality: "high" };
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(shrunk < 1 ? await createImageBitmap(full, options) : full, 0, 0);
    const photo = context.getImageData(0, 0, width, height), last = shown.photo ?? photo;
    const pose = scaled(shown.pose, width / last.width, height / last.height); // to be dragged to the person's place
    Object.assign(shown, { photo, shrunk, pose });
  }

  async function take(files) {
    const of = (pattern) => [...files].find((file) => pattern.test(file.name));
    const model = of(/\.onnx$/), pose = of(/\.json$/), photo = of(/\.(jpe?g|png|webp|avif)$/i);
    if (model) shown.session = await ort.InferenceSession.create(await model.arrayBuffer());
    if (photo) await open(photo);
    const { width, height } = shown.photo, by = shown.shrunk;
    if (pose) shown.pose = scaled(poseOf(JSON.parse(await pose.text()), width / by, height / by), by, by);
    await show();
  }

  const attempt = (work) => work().catch((error) => say(error.message));
  page.querySelector("input").addEventListener("change", (event) => attempt(() => take(event.target.files)));
  page.addEventListener("dragover", (event) => event.preventDefault());
  page.addEventListener("drop", (event) => {
    event.preventDefault();
    attempt(() => take(event.dataTransfer.files));
  });

  let held = null; // the keypoint that is being dragged
  const pointed = ({ offsetX, offsetY }) => [offsetX, offsetY].map((value) => (value * before.width) / before.clientWidth);
  before.addEventListener("pointerdown", (event) => {
    const [x, y] = pointed(event);
    const away = shown.pose.map(([u, v, score]) => (score > 0 ? Math.hypot(u - x, v - y) : Infinity));
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] > (REACH * before.width) / before.clientWidth) return;
    held = nearest;
    before.setPointerCapture(event.pointerId);
  });
  before.addEventListener("pointermove", (event) => {
    if (held === null) return;
    shown.pose[held] = [...pointed(event), shown.pose[held][2]];
    draw(before, shown.pose);
  });
  before.addEventListener("pointerup", () => {
    if (held !== null) attempt(show);
    held = null;
  });

  attempt(async () => {
    await open(await (await fetch("walker.jpg")).blob());
    await show();
    const model = await fetch("posefix.onnx");
    if (!model.ok) throw new Error("Drop posefix.onnx here: it is not beside this page.");
    shown.session = await ort.InferenceSession.create(await model.arrayBuffer());
    await show();
  });
}

const page = document.getElementById("posefix");
if (page) start(page);
