// What the functions of jaxconv.sizes, put into JavaScript, call of Python.
"use strict";

class LibraryError extends Error {}

const wrong_value = (name, rule, got) => {
  throw new LibraryError(`${name}: ${rule}; got ${got}.`);
};
const holds = (comparison) => comparison();
const modulo = (a, b) => a - b * Math.floor(a / b);
const max = Math.max;
const min = Math.min;
const len = (values) => values.length;
const gcd = (a, b) => (b ? gcd(b, a % b) : Math.abs(a));
const zip = (...arrays) => arrays[0].map((_, i) => arrays.map((array) => array[i]));
const enumerate = (values) => values.map((value, i) => [i, value]);

function range(start, stop, step = 1) {
  if (stop === undefined) [start, stop] = [0, start];
  const count = Math.max(Math.ceil((stop - start) / step), 0);
  return Array.from({ length: count }, (_, i) => start + step * i);
}

// The inverse of a modulo b, the only power that is asked for.
function pow(a, exponent, b) {
  if (exponent !== -1) throw new Error("pow is for inverses here");
  return range(b).find((each) => modulo(a * each, b) === 1 % b);
}

// As Python writes numbers, words and tuples.
const str = (value) => (typeof value === "string" ? value : repr(value));

function repr(value) {
  if (typeof value === "string") return `'${value}'`;
  if (Array.isArray(value)) return value.length === 1 ? `(${repr(value[0])},)` : `(${value.map(repr).join(", ")})`;
  return String(value);
}
