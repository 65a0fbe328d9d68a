"""EM beside the posterior: where they agree, where not, and a report of both."""

import bayesgmm as bg

customers = bg.datasets.load_customers()
point = bg.fit(customers, 2, engine="em", seed=1)
posterior = bg.fit(customers, 2, engine=bg.Gibbs(draws=2000), seed=1, progress=False)

compared = bg.compare(point, posterior)
print(compared)
print(compared.memberships.head())
bg.report(posterior, "customers.html", point=point)
