"""`fieldstone demo`: a real small network on this machine, end to end, on a clock that runs three days in a minute.

Nothing is faked around the network: signed reports over HTTP, a fsynced journal, three verifier processes, contracts
on an embedded EVM chain, customers who pay. Only time is driven, and the weather comes from a simulated world, except
for three airports whose real observations of May 2013 are replayed.
"""
