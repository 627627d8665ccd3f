"""The benchmark's rows: what is measured, against which baseline, with which verdict."""

# How a number of each unit is written.
UNITS = {'us': lambda value: f'{value / 1000:.3f} ms' if value < 10000 else f'{value / 1000:.2f} ms',
         '1/s': lambda value: f'{value:,.0f} /s',
         'KiB': lambda value: f'{value:,.0f} KiB',
         'MB': lambda value: f'{value:.1f} MB',
         '': lambda value: f'{value:.2f}'}


class Failed(Exception):
    """A row cannot be measured: why, for whoever reads the table."""


class Row:
    """baseline: the row whose median this one's is divided by. judged: which of ratio, median
    and p99 must and aim are about; medians in the row's unit. better: lower or higher. A row
    that has a must and cannot be measured is short of it; others are n/a with the reason."""

    def __init__(self, group, name, unit='us', baseline=None, must=None, aim=None, better='lower',
                 judged='ratio'):
        self.group, self.name, self.unit, self.baseline = group, name, unit, baseline
        self.must, self.aim, self.better, self.judged = must, aim, better, judged
        self.median = self.p99 = self.why = None
        self.samples = 0
        self.skipped = False
        self.note = ''

    def fill(self, samples):
        """From single measurements, in the row's unit."""
        ordered = sorted(samples)
        if not ordered:
            raise Failed('no samples')
        self.samples = len(ordered)
        self.median = at(ordered, 0.5)
        self.p99 = at(ordered, 0.99)

    def fill_one(self, value, samples, note=''):
        self.median, self.samples, self.note = value, samples, note

    @property
    def ratio(self):
        if self.baseline is None or self.baseline.median is None or self.median is None:
            return None
        return self.median / self.baseline.median

    @property
    def verdict(self):
        if self.skipped:
            return 'n/a'
        if self.must is None:
            return '' if self.median is not None else 'n/a'
        value = getattr(self, self.judged)
        if value is None:
            return 'short'
        return 'ok' if (value <= self.must if self.better == 'lower' else value >= self.must) else 'short'

    def json(self):
        return {'name': f'{self.group}: {self.name}', 'samples': self.samples, 'unit': self.unit,
                'baseline': self.baseline and self.baseline.name, 'better': self.better,
                'must': self.must, 'aim': self.aim, 'judged': self.judged, 'median': self.median,
                'p99': self.p99, 'ratio': self.ratio and round(self.ratio, 3), 'verdict': self.verdict,
                **({'why': self.why} if self.why else {}), **({'note': self.note} if self.note else {})}

    def write(self, value):
        return '' if value is None else UNITS[self.unit](value)

    def target(self, value):
        """must or aim as it stands in the table."""
        if value is None:
            return ''
        return f'{value:g} x' if self.judged == 'ratio' else self.write(value)


def at(ordered, part):
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def print_table(rows):
    width = max((len(row.name) for row in rows), default=0) + 2
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            print(f'\n{group:{width + 2}} {"median":>12} {"p99":>11} {"ratio":>7} {"must":>9} {"aim":>9}  verdict')
        ratio = '' if row.ratio is None else f'{row.ratio:.3f}'
        if row.median is None:
            print(f'  {row.name:{width}} {"n/a":>12} {"":11} {"":7} {row.target(row.must):>9} '
                  f'{row.target(row.aim):>9}  {row.verdict}  ({row.why})')
            continue
        print(f'  {row.name:{width}} {row.write(row.median):>12} {row.write(row.p99):>11} {ratio:>7} '
              f'{row.target(row.must):>9} {row.target(row.aim):>9}  {row.verdict}'.rstrip())
        if row.note:
            print(f'      {row.note}')


def print_markdown(rows, where):
    """The table of README.md."""
    print(f'\nMeasured on {where["time"][:10]}: {where["cpu"]}, {where["cores"]} cores, '
          f'Linux {where["kernel"].split("-")[0]}; a page fault {where["touch_us"]} us '
          f'({where["copy_us"]} us to copy).\n')
    print('| row | median | p99 | against its baseline | must | aim |')
    print('|---|---|---|---|---|---|')
    for row in rows:
        if row.median is not None:
            ratio = '' if row.ratio is None else f'{row.ratio:.2f}'
            print(f'| {row.group}: {row.name} | {row.write(row.median)} | {row.write(row.p99)} | {ratio} '
                  f'| {row.target(row.must)} | {row.target(row.aim)} |')
