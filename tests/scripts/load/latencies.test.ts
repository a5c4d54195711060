import { expect, test } from 'bun:test';
import { Latencies } from '../../../scripts/load/latencies.ts';

test('tells percentiles to a tenth of a millisecond, and the longest exactly', () => {
  const latencies = new Latencies();
  for (let ms = 1; ms <= 1000; ms += 1) latencies.add(ms - 0.5);
  expect(latencies.count).toBe(1000);
  expect(latencies.percentile(0.5)).toBeCloseTo(499.6, 6);
  expect(latencies.percentile(0.99)).toBeCloseTo(989.6, 6);
  expect(latencies.max).toBe(999.5);
});

test('counts what is out of range at its end', () => {
  const latencies = new Latencies();
  latencies.add(-3);
  expect(latencies.percentile(0.5)).toBeCloseTo(0.1, 6);
  latencies.add(1_000_000);
  expect(latencies.percentile(1)).toBeGreaterThanOrEqual(30_000);
  expect(latencies.max).toBe(1_000_000);
});

test('is zero while there is nothing', () => {
  expect(new Latencies().percentile(0.99)).toBe(0);
});
