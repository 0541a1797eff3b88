"""How good labels are: metrics against a truth, with intervals, and the pairing of phrases and boxes behind them."""
