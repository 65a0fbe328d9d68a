"""From a pandas table to a CSV of memberships, the least sure rows first."""

import bayesgmm as bg

faithful = bg.datasets.load_faithful()
result = bg.fit(faithful, 2, engine="gibbs", seed=1, progress=False)

found = result.memberships(ci_prob=0.9)
table = faithful.assign(
    group=found.label,
    membership=found.probability.max("component"),
    lower=found.lower.sel(component=0),
    upper=found.upper.sel(component=0),
    more_data_would_help=found.entropy_parameter,
)
table.sort_values("membership").to_csv("memberships.csv")
print(table.sort_values("membership").head())
