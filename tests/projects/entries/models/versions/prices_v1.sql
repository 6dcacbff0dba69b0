select 1 as price_id, 2 + 3 as amount, upper('eur') as currency, 1 * 2 as level
