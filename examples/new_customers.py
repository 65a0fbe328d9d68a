"""New customers, scored with intervals by a result that was saved."""

import bayesgmm as bg

customers = bg.datasets.load_customers()
known, new = customers.iloc[:-20], customers.iloc[-20:]
bg.fit(known, 2, seed=1, progress=False).save("customers.nc")

result = bg.load("customers.nc")
found = result.memberships(new, ci_prob=0.95)
for name in new.index[:5]:
    one = found.sel(observation=name, component=1)
    print(
        f"{name}: {float(one.probability):.2f} premium, 95 % interval {float(one.lower):.2f} to {float(one.upper):.2f}"
    )
