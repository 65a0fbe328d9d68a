"""The smallest fit: two groups of customers, and how sure each membership is."""

import bayesgmm as bg

customers = bg.datasets.load_customers()
result = bg.fit(customers, 2, seed=1, progress=False)
print(result)

memberships = result.memberships()
print(memberships[["probability", "lower", "upper"]].sel(observation="C200").to_dataframe().round(3))
